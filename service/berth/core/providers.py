"""The 23 providers and their short names.

A short name is the enum value without its prefix, in lower case: what JSON,
the configuration, logs and headers carry.
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
    """Return the provider of a short name. InvalidRequestError, which names the nearest one, if there is none."""
    if name not in PROVIDERS:
        raise unknown_provider(name)
    return PROVIDERS[name]


def unknown_provider(name: str) -> InvalidRequestError:
    """Return the error for what is no provider's short name."""
    error = invalid("provider", f"there is no provider '{shown(name)}'")
    error.message = error.message.removesuffix(".") + did_you_mean(name, PROVIDERS, always=True)
    return error


def provider_name(provider: Provider) -> str:
    """Return the short name of `provider`; KeyError for one that is not in the contract."""
    return PROVIDER_NAMES[provider]
