"""Which backend answers: (caller, provider, container or file) → Backend or FileBackend."""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from berth.core.caller import Caller
from berth.core.errors import AuthenticationError, not_configured
from berth.core.providers import PROVIDERS, provider_name
from berth.core.routing.unsupported import UnsupportedBackend
from berth.core.validation import container_not_found, file_not_found, invalid, missing
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

MAX_REMEMBERED = 10_000
"""Containers, or files, whose provider is remembered; of all others it is looked up."""
_KNOWN = frozenset(PROVIDERS.values())

B_co = TypeVar("B_co", covariant=True)


class ProviderLookup(Protocol):
    """What knows whose things are: a ContainerStore or a FileStore."""

    async def get_provider(self, tenant: str, resource_id: str, /) -> Provider:
        """Return whose a thing is. NotFoundError if the tenant has none of that id."""


class Router(Generic[B_co]):
    """Picks a backend, for what a `resource` says: "container" or "file".

    `backends` holds the providers that are configured, and `direct` those of
    them that take a caller's own key; `store` knows whose a thing is;
    `hosted` answers what is about the things of all providers;
    `default_provider` is the one that a thing is made for when none is named, PROVIDER_UNSPECIFIED for no default.
    """

    def __init__(
        self,
        backends: Mapping[Provider, B_co],
        *,
        hosted: B_co,
        store: ProviderLookup,
        resource: str = "container",
        direct: frozenset[Provider] = frozenset(),
        default_provider: Provider = PROVIDER_UNSPECIFIED,
    ) -> None:
        self._backends = backends
        self._hosted = hosted
        self._store = store
        self._resource = resource
        self._direct = direct
        self._default_provider = default_provider
        self._owned: dict[tuple[str, str], Provider] = {}  # the oldest first

    def provider_for_new(self, named: Provider) -> Provider:
        """Return the provider that a new thing is for. InvalidRequestError if there is none."""
        provider = named or self._default_provider
        if not provider:
            raise missing("provider")
        return provider

    def backend(self, caller: Caller, provider: Provider) -> B_co:
        """Return the backend of `provider`, or the hosted one for PROVIDER_UNSPECIFIED.

        InvalidRequestError for a number that is no provider,
        PermissionDeniedError if the caller may not use it, AuthenticationError
        if it does not take the caller's own key, ProviderNotConfiguredError if
        nothing says how to reach it.
        """
        if not provider:
            _require_no_direct_key(caller, "any provider")
            return self._hosted
        if provider not in _KNOWN:
            raise invalid("provider", f"there is no provider {provider}")
        caller.require(provider)
        backend = self._backends.get(provider)
        if backend is None:
            raise not_configured(provider_name(provider))
        if provider not in self._direct:
            _require_no_direct_key(caller, provider_name(provider))
        return backend

    async def backend_of(self, caller: Caller, provider: Provider, *, resource_id: str) -> tuple[Provider, B_co]:
        """Return the provider of the caller's container or file, and its backend.

        InvalidRequestError for an empty id, NotFoundError if the caller has no
        such thing or it is not of `provider`, where that is set; and what
        `backend` raises. A provider that has no containers answers by itself.
        """
        named = self.backend(caller, provider)
        if provider and isinstance(named, UnsupportedBackend):
            return provider, named
        if not resource_id:
            raise missing(f"{self._resource}_id")
        own = self._owned.get((caller.tenant, resource_id)) or await self._look_up(caller.tenant, resource_id)
        if provider == own:
            return own, named
        if provider:
            raise (container_not_found if self._resource == "container" else file_not_found)(resource_id)
        return own, self.backend(caller, own)

    async def _look_up(self, tenant: str, resource_id: str) -> Provider:
        """Return the provider of a tenant's thing, and remember it.

        It never changes, and no id is used twice: what can be out of date is
        only that there still is such a thing, and its backend looks for that.
        """
        provider = self._owned[tenant, resource_id] = await self._store.get_provider(tenant, resource_id)
        if len(self._owned) > MAX_REMEMBERED:
            del self._owned[next(iter(self._owned))]
        return provider


def _require_no_direct_key(caller: Caller, whose: str) -> None:
    """Raise AuthenticationError for a caller with a key of a provider's, which is good for a provider by name only."""
    if caller.direct_key is not None:
        message = f"virtual key not found. A key that is not one of ours does not work for {whose}."
        raise AuthenticationError(message, code="virtual_key_not_found")
