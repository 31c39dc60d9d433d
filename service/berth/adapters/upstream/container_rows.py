"""ContainerRows: what Berth stores of containers at a provider, and which of them a caller may reach.

A container that Berth did not create has no row at first. In an account of the caller's own the provider is asked for
it all the same, and its row is written when that succeeds: the container is adopted.
"""

from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError, StorageError
from berth.core.ports.container_store import ContainerRecord, ContainerStore
from berth.core.routing.accounts import Accounts
from berth.core.routing.container_ownership import ContainerOwnership
from berth.core.validation import container_not_found
from berth.v1.container_pb2 import CONTAINER_STATUS_DELETED, Container
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

REFRESH_SECONDS = 60
"""By how much `last_active_at` must have changed for the row to be updated."""


class OnContainer(Protocol):
    """A request on a container."""

    @property
    def container_id(self) -> str:
        """The id of the container."""

    @property
    def provider(self) -> Provider:
        """The provider that the request names, or PROVIDER_UNSPECIFIED."""


@dataclass(frozen=True, slots=True)
class Located:
    """A container that a caller may reach with `key`; `record` is None if Berth does not know it."""

    caller: Caller
    container_id: str
    key: UpstreamKey
    record: ContainerRecord | None


class ContainerRows:
    """The rows of containers at the provider of `account`; `accounts` are those of all providers.

    An operation that the provider has done succeeds even if the row cannot be written: the next one does it.
    """

    def __init__(
        self,
        account: UpstreamAccount,
        *,
        store: ContainerStore,
        accounts: Accounts,
        background: BackgroundTasks,
    ) -> None:
        self._account = account
        self._store = store
        self._accounts = accounts
        self._ownership = ContainerOwnership(store, account.now)
        self._now = account.now
        self._log = account.log
        self._background = background

    async def locate(self, caller: Caller, request: OnContainer) -> Located:
        """Return the container of a request. NotFoundError if the caller has none and may not ask the provider."""
        provider = self._account.provider
        try:
            record = await self._ownership.container(
                caller, request.container_id, provider=request.provider, at=provider
            )
        except NotFoundError:
            key = await self._key_for_unknown(caller, request)
            if key is None:
                raise
            return Located(caller, request.container_id, key, None)
        if record.adopted_at is not None and not self._account.admits_unknown(caller):
            raise container_not_found(request.container_id)
        return Located(caller, request.container_id, self._account.key_for(caller, record.key), record)

    async def saw(self, located: Located, container: Container) -> None:
        """Store what the provider says of a container: that it exists, its status and its last activity."""
        record = located.record
        if container.status == CONTAINER_STATUS_DELETED:
            await self.delete(located)
        elif record is None or (record.adopted_at is not None and not record.container.created_at):
            await self._adopt(located, container)
        else:
            elapsed = container.last_active_at - record.container.last_active_at
            if elapsed >= REFRESH_SECONDS or container.status != record.container.status:
                await self._refresh(record.tenant, container)

    async def used(self, located: Located) -> None:
        """Set the last activity of a container to now, as the provider does without saying so in every response."""
        if located.record is None:
            await self._adopt(located, Container(id=located.container_id, object="container"))
            return
        container, now = located.record.container, self._now()
        if container.HasField("last_active_at") and now - container.last_active_at >= REFRESH_SECONDS:
            container.last_active_at, container.provider = now, self._account.provider
            await self._refresh(located.record.tenant, container)

    async def missed(self, located: Located, error: NotFoundError) -> None:
        """Delete the row of a container that the provider says it does not have.

        A 404 of something else, such as a proxy with a wrong configuration, has no error of the API.
        """
        if error.kind is not None:
            await self.delete(located)

    async def delete(self, located: Located) -> None:
        """Delete the row of a container, if there is one."""
        deletion = self._store.delete_container(located.caller.tenant, located.container_id, self._account.provider)
        with suppress(NotFoundError):
            await self._background.finish(deletion)

    async def _key_for_unknown(self, caller: Caller, request: OnContainer) -> UpstreamKey | None:
        """Return the key to ask for a container without a row; None if it must not be asked for."""
        key = self._account.key_for_unknown(caller)
        if key is None or request.provider not in (self._account.provider, PROVIDER_UNSPECIFIED):
            return None
        caller.require(self._account.provider)
        others = await self._store.foreign(caller.tenant, request.container_id)
        return None if self._accounts.holds_for_others(others) else key

    async def _adopt(self, located: Located, container: Container) -> None:
        caller, now = located.caller, self._now()
        known = Container()
        known.CopyFrom(container)
        known.last_active_at = container.last_active_at or now
        adopted_at = located.record.adopted_at if located.record else now
        record = ContainerRecord(
            known, caller.tenant, self._account.provider, key=located.key.name, adopted_at=adopted_at
        )
        try:
            is_new = await self._background.finish(self._store.adopt(record))
        except StorageError as error:
            self._log.warning("container.adopt_failed", container_id=container.id, reason=error.message)
            return
        if is_new:
            name, found = self._account.name, container.id
            log_adoption(self._log, "container.adopted", caller, provider=name, id=found, container_id=found)

    async def _refresh(self, tenant: str, container: Container) -> None:
        try:
            await self._store.refresh_container(tenant, container)
        except StorageError as error:
            self._log.warning("container.refresh_failed", container_id=container.id, reason=error.message)


def log_adoption(log: FilteringBoundLogger, event: str, caller: Caller, *, provider: str, **ids: str) -> None:
    """Write to the audit trail that a tenant has used what Berth did not create."""
    log.info(
        event,
        audit=True,
        **ids,
        tenant=caller.tenant,
        caller=caller.name,
        source=caller.origin.source,
        provider=provider,
        request_id=caller.origin.request_id,
    )
