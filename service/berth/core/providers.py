"""The 23 providers and their short names.

A short name is the enum value without its prefix, in lower case: what JSON,
the configuration, logs and headers carry.
"""

from typing import cast

from berth.v1.provider_pb2 import Provider

_PREFIX = "PROVIDER_"

PROVIDERS: dict[str, Provider] = {
    name.removeprefix(_PREFIX).lower(): cast("Provider", value) for name, value in Provider.items() if value
}
PROVIDER_NAMES: dict[Provider, str] = {value: name for name, value in PROVIDERS.items()}


def provider_name(provider: Provider) -> str:
    """Return the short name of `provider`; KeyError for one that is not in the contract."""
    return PROVIDER_NAMES[provider]
