"""Which backend answers: (caller, provider) → Backend."""

from collections.abc import Mapping

from berth.core.backend import Backend
from berth.core.caller import Caller
from berth.core.checks import invalid, missing
from berth.core.errors import ProviderNotConfiguredError
from berth.core.providers import PROVIDERS, provider_name
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

_KNOWN = frozenset(PROVIDERS.values())


class Router:
    """Picks a backend by provider.

    `backends` holds the providers that are configured; `keeper` is the backend
    that knows the containers of every provider, for requests that name none;
    `default_provider` is the one that a container is made for when none is
    named, PROVIDER_UNSPECIFIED for no default.
    """

    def __init__(
        self,
        backends: Mapping[Provider, Backend],
        *,
        keeper: Backend,
        default_provider: Provider = PROVIDER_UNSPECIFIED,
    ) -> None:
        self._backends = backends
        self._keeper = keeper
        self._default_provider = default_provider

    def provider_for_new(self, named: Provider) -> Provider:
        """Return the provider that a new container is for. InvalidRequestError if there is none."""
        provider = named or self._default_provider
        if not provider:
            raise missing("provider")
        return provider

    def backend(self, caller: Caller, provider: Provider) -> Backend:
        """Return the backend of `provider`, or the keeper's for PROVIDER_UNSPECIFIED.

        InvalidRequestError for a number that is no provider,
        PermissionDeniedError if the caller may not use it,
        ProviderNotConfiguredError if nothing says how to reach it.
        """
        if not provider:
            return self._keeper
        if provider not in _KNOWN:
            raise invalid("provider", f"there is no provider {provider}")
        caller.require(provider)
        backend = self._backends.get(provider)
        if backend is None:
            raise _not_configured(provider)
        return backend


def _not_configured(provider: Provider) -> ProviderNotConfiguredError:
    name = provider_name(provider)
    message = (
        f"Provider '{name}' is not configured. Set providers.{name}.keys to use your account there, "
        f"or 'providers.{name}: {{backend: hosted}}' to have Berth keep its containers."
    )
    return ProviderNotConfiguredError(message, param="provider", provider=name)
