"""Selects the backend for a caller, a provider, and a container or file."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

from berth.core.caller import Caller
from berth.core.errors import (
    AuthenticationError,
    NotFoundError,
    PermissionDeniedError,
    ProviderNotConfiguredError,
    not_configured,
)
from berth.core.providers import PROVIDERS, provider_name
from berth.core.routing.accounts import NO_ACCOUNTS, Accounts
from berth.core.routing.unsupported import UnsupportedBackend
from berth.core.validation import invalid, missing
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

MAX_REMEMBERED = 10_000
"""The containers, or files, with a cached provider; that of any other one is looked up."""
_UNNAMED = "without naming a provider"
_KNOWN = frozenset(PROVIDERS.values())
_REFUSALS = (NotFoundError, AuthenticationError, PermissionDeniedError, ProviderNotConfiguredError)
"""Why a caller cannot use a resource or a provider."""

B_co = TypeVar("B_co", covariant=True)


class ProviderLookup(Protocol):
    """Looks up the provider of a resource: a ContainerStore or a FileStore."""

    async def get_provider(self, tenant: str, resource_id: str, provider: Provider = ..., /) -> Provider:
        """Return the provider of a resource, which is `provider` if that is set.

        NotFoundError if the tenant has no such resource.
        """


class Router(Generic[B_co]):
    """Selects a backend for the type of resource that `resource` names: "container" or "file".

    `backends` has the configured providers, and `direct` has those of them that accept a caller's
    own provider key. `store` looks up the provider of a resource. `hosted` answers requests about
    the resources of all providers. `default_provider` is the provider of a new resource if the
    request names none; PROVIDER_UNSPECIFIED means no default. `accounts` says which provider is asked
    for an id that Berth does not know.
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
        accounts: Accounts = NO_ACCOUNTS,
    ) -> None:
        self._backends = backends
        self._hosted = hosted
        self._store = store
        self._resource = resource
        self._direct = direct
        self._default_provider = default_provider
        self._accounts = accounts
        self._owned: dict[tuple[str, str], Provider] = {}  # oldest first

    def provider_for_new(self, named: Provider) -> Provider:
        """Return the provider of a new resource. InvalidRequestError if none is named and there is no default."""
        provider = named or self._default_provider
        if not provider:
            raise missing("provider")
        return provider

    def backend(self, caller: Caller, provider: Provider) -> B_co:
        """Return the backend of `provider`.

        For PROVIDER_UNSPECIFIED it is the hosted one, which lists the resources of all providers. For
        a caller with its own key it is the backend of its only own account.

        InvalidRequestError for a number that is not a provider; PermissionDeniedError if the caller
        may not use it; AuthenticationError if it does not accept the caller's own key;
        ProviderNotConfiguredError if it is not configured.
        """
        if not provider and caller.direct_key is not None:
            provider = self._accounts.only_one(caller) or provider
        if not provider:
            _require_no_direct_key(caller, _UNNAMED)
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

    async def backend_of(
        self, caller: Caller, provider: Provider, *, resource_id: str, is_default: bool = False
    ) -> tuple[Provider, B_co]:
        """Return the provider of the caller's container or file, and its backend.

        An id that Berth does not know leads to the backend of the provider that is asked for it, if
        there is one: of `provider` or, if that is not set, of the caller's only own account. If
        `provider` is a default that the caller has not named, a resource that Berth knows at another
        provider is found, too.

        InvalidRequestError for an empty id; NotFoundError if the caller has no such resource, or if
        it is not of `provider` where that is set; also the errors of `backend`. An
        UnsupportedBackend is returned without a lookup.
        """
        try:
            found = await self._backend_of(caller, provider, resource_id)
        except _REFUSALS:
            if is_default and (known := await self._elsewhere(caller, resource_id)):
                return known
            raise
        if is_default and isinstance(found[1], UnsupportedBackend):
            return await self._elsewhere(caller, resource_id) or found
        return found

    async def _elsewhere(self, caller: Caller, resource_id: str) -> tuple[Provider, B_co] | None:
        """Return the provider of a resource that Berth knows, and its backend; None if the caller cannot use it."""
        with suppress(*_REFUSALS):
            known = await self._known(caller, PROVIDER_UNSPECIFIED, resource_id)
            return known, self.backend(caller, known)
        return None

    async def _backend_of(self, caller: Caller, provider: Provider, resource_id: str) -> tuple[Provider, B_co]:
        if provider and isinstance(named := self.backend(caller, provider), UnsupportedBackend):
            return provider, named
        if not resource_id:
            raise missing(f"{self._resource}_id")
        try:
            found = await self._find(caller, provider, resource_id)
        except NotFoundError:
            if not provider and self._accounts.only_one(caller) is None:
                _require_no_direct_key(caller, _UNNAMED)
            raise
        return found, self.backend(caller, found)

    def owns(self, caller: Caller, provider: Provider) -> bool:
        """Return whether the caller has an account of its own at `provider`, which then judges what it is sent."""
        return self._accounts.owns(caller, provider)

    def admits_unknown(self, caller: Caller, provider: Provider) -> bool:
        """Return whether `provider` is asked for an id that Berth does not know."""
        return self._accounts.admits_unknown(caller, provider)

    async def _find(self, caller: Caller, provider: Provider, resource_id: str) -> Provider:
        """Return the provider of a resource, or the one that is asked for an unknown id.

        A resource that is known at another provider than `provider` is not asked for.
        """
        try:
            own = await self._known(caller, provider, resource_id)
        except NotFoundError:
            asked = self._asked_for_unknown(caller, provider)
            if asked is None:
                raise
            return asked
        if provider in (own, PROVIDER_UNSPECIFIED):
            return own
        return await self._store.get_provider(caller.tenant, resource_id, provider)

    def _asked_for_unknown(self, caller: Caller, provider: Provider) -> Provider | None:
        if not provider:
            return self._accounts.only_one(caller)
        return provider if self._accounts.admits_unknown(caller, provider) else None

    def _holds_if_deleted(self, caller: Caller, own: Provider, provider: Provider) -> bool:
        """Return whether the backend of the cached provider `own` is the one to ask even if the resource was deleted.

        That backend finds out. But a deleted resource is an unknown one, which another provider may be asked for.
        """
        if provider:
            return provider == own
        return not self._accounts.admits_unknown(caller, own) or self._accounts.only_one(caller) == own

    async def _known(self, caller: Caller, provider: Provider, resource_id: str) -> Provider:
        """Return the provider of a resource that Berth knows. NotFoundError if it knows none."""
        own = self._owned.get((caller.tenant, resource_id))
        if own is None or not self._holds_if_deleted(caller, own, provider):
            own = await self._look_up(caller.tenant, resource_id)
        return own

    async def _look_up(self, tenant: str, resource_id: str) -> Provider:
        """Return the provider of a tenant's resource and cache it.

        The provider of a resource does not change as long as it exists.
        """
        self._owned.pop((tenant, resource_id), None)
        provider = self._owned[tenant, resource_id] = await self._store.get_provider(tenant, resource_id)
        if len(self._owned) > MAX_REMEMBERED:
            del self._owned[next(iter(self._owned))]
        return provider


def _require_no_direct_key(caller: Caller, usage: str) -> None:
    """Raise AuthenticationError if the caller has its own provider key, which cannot be used as `usage` says."""
    if caller.direct_key is not None:
        message = f"virtual key not found. A key that is not a virtual key cannot be used {usage}."
        raise AuthenticationError(message, code="virtual_key_not_found")
