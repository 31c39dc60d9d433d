"""Selects the backend for a caller, a provider, and a container or file."""

from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

from berth.core.caller import Caller
from berth.core.errors import AuthenticationError, not_configured
from berth.core.providers import PROVIDERS, provider_name
from berth.core.routing.unsupported import UnsupportedBackend
from berth.core.validation import container_not_found, file_not_found, invalid, missing
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

MAX_REMEMBERED = 10_000
"""The containers, or files, with a cached provider; that of any other one is looked up."""
_KNOWN = frozenset(PROVIDERS.values())

B_co = TypeVar("B_co", covariant=True)


class ProviderLookup(Protocol):
    """Looks up the provider of a resource: a ContainerStore or a FileStore."""

    async def get_provider(self, tenant: str, resource_id: str, /) -> Provider:
        """Return the provider of a resource. NotFoundError if the tenant has no resource with this id."""


class Router(Generic[B_co]):
    """Selects a backend for the type of resource that `resource` names: "container" or "file".

    `backends` has the configured providers, and `direct` has those of them that accept a caller's
    own provider key. `store` looks up the provider of a resource. `hosted` answers requests about
    the resources of all providers. `default_provider` is the provider of a new resource if the
    request names none; PROVIDER_UNSPECIFIED means no default.
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
        self._owned: dict[tuple[str, str], Provider] = {}  # oldest first

    def provider_for_new(self, named: Provider) -> Provider:
        """Return the provider of a new resource. InvalidRequestError if none is named and there is no default."""
        provider = named or self._default_provider
        if not provider:
            raise missing("provider")
        return provider

    def backend(self, caller: Caller, provider: Provider) -> B_co:
        """Return the backend of `provider`, or the hosted one for PROVIDER_UNSPECIFIED.

        InvalidRequestError for a number that is not a provider; PermissionDeniedError if the caller
        may not use it; AuthenticationError if it does not accept the caller's own key;
        ProviderNotConfiguredError if it is not configured.
        """
        if not provider:
            _require_no_direct_key(caller, "without naming a provider")
            return self._hosted
        if provider not in _KNOWN:
            raise invalid("provider", f"there is no provider {provider}")
        caller.require(provider)
        backend = self._backends.get(provider)
        if backend is None:
            raise not_configured(provider_name(provider))
        if provider not in self._direct:
            _require_no_direct_key(caller, f"for the provider '{provider_name(provider)}'")
        return backend

    async def backend_of(self, caller: Caller, provider: Provider, *, resource_id: str) -> tuple[Provider, B_co]:
        """Return the provider of the caller's container or file, and its backend.

        InvalidRequestError for an empty id; NotFoundError if the caller has no such resource, or if
        it is not of `provider` where that is set; also the errors of `backend`. An
        UnsupportedBackend is returned without a lookup.
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
        """Return the provider of a tenant's resource and cache it.

        The provider of a resource never changes, and ids are never reused. A cached entry is only
        out of date if the resource was deleted, and the backend checks that.
        """
        provider = self._owned[tenant, resource_id] = await self._store.get_provider(tenant, resource_id)
        if len(self._owned) > MAX_REMEMBERED:
            del self._owned[next(iter(self._owned))]
        return provider


def _require_no_direct_key(caller: Caller, usage: str) -> None:
    """Raise AuthenticationError if the caller has its own provider key, which cannot be used as `usage` says."""
    if caller.direct_key is not None:
        message = f"virtual key not found. A key that is not a virtual key cannot be used {usage}."
        raise AuthenticationError(message, code="virtual_key_not_found")
