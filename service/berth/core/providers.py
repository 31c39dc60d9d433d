"""The 23 providers and their short names.

A short name is the enum value in lower case without its prefix, as used in JSON, the configuration,
logs and headers.
"""

from typing import cast

from berth.core.errors import InvalidRequestError
from berth.core.validation import did_you_mean, invalid, shown
from berth.v1.provider_pb2 import Provider

_PREFIX = "PROVIDER_"

PROVIDERS: dict[str, Provider] = {
    name.removeprefix(_PREFIX).lower(): cast("Provider", value) for name, value in Provider.items() if value
}
PROVIDER_NAMES: dict[Provider, str] = {value: name for name, value in PROVIDERS.items()}


def parse_provider(name: str) -> Provider:
    """Return the provider with a short name. InvalidRequestError, which suggests the nearest name, if there is none."""
    if name not in PROVIDERS:
        raise unknown_provider(name)
    return PROVIDERS[name]


def unknown_provider(name: str) -> InvalidRequestError:
    """Return the error for a text that is not the short name of a provider."""
    error = invalid("provider", f"there is no provider '{shown(name)}'")
    error.message = error.message.removesuffix(".") + did_you_mean(name, PROVIDERS, always=True)
    return error


def provider_name(provider: Provider) -> str:
    """Return the short name of `provider`. KeyError if the contract does not define the provider."""
    return PROVIDER_NAMES[provider]
