"""FileRows: what Berth stores of files at a provider, and which of them a caller may reach.

A file that Berth did not create is adopted as in `container_rows`.
"""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Protocol

from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.container_rows import log_adoption
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError, StorageError
from berth.core.ports.file_store import FileRecord, FileStore
from berth.core.routing.accounts import Accounts
from berth.core.routing.file_ownership import FileOwnership
from berth.core.validation import file_not_found
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider


class OnFile(Protocol):
    """A request on a file."""

    @property
    def file_id(self) -> str:
        """The id of the file."""

    @property
    def provider(self) -> Provider:
        """The provider that the request names, or PROVIDER_UNSPECIFIED."""


class FileRows:
    """The rows of files at the provider of `account`; `accounts` are those of all providers.

    An operation that the provider has done succeeds even if the row cannot be written: the next one does it.
    """

    def __init__(
        self,
        account: UpstreamAccount,
        *,
        store: FileStore,
        background: BackgroundTasks,
        accounts: Accounts | None = None,
    ) -> None:
        self._account = account
        self._accounts = accounts or Accounts({account.provider: account})
        self._store = store
        self._ownership = FileOwnership(store)
        self._background = background

    async def locate(self, caller: Caller, request: OnFile) -> tuple[UpstreamKey, FileRecord | None]:
        """Return the key to reach a file with, and its row; None if Berth does not know it.

        NotFoundError if the caller has no such file and may not ask the provider.
        """
        provider = self._account.provider
        try:
            record = await self._ownership.file(caller, request.file_id, provider=request.provider, at=provider)
        except NotFoundError:
            key = await self._key_for_unknown(caller, request)
            if key is None:
                raise
            return key, None
        if record.adopted_at is not None and not self._account.admits_unknown(caller):
            raise file_not_found(request.file_id)
        return self._account.key_for(caller, record.key), record

    async def saw(self, caller: Caller, file: File, key: UpstreamKey, record: FileRecord | None) -> None:
        """Store what the provider says of a file that Berth did not create, unless `record` has it already."""
        if record is None or (record.adopted_at is not None and not record.file.created_at):
            await self._adopt(caller, file, key, adopted_at=record.adopted_at if record else None)

    async def used(self, caller: Caller, file_ids: Iterable[str], key: UpstreamKey) -> None:
        """Store that the provider has files that Berth does not know, and of which it has told nothing else."""
        files = [File(id=file_id, object="file") for file_id in dict.fromkeys(file_ids)]
        await asyncio.gather(*(self._adopt(caller, file, key) for file in files))

    async def missed(self, caller: Caller, file_id: str, error: NotFoundError) -> None:
        """Delete the row of a file that the provider says it does not have; see `ContainerRows.missed`."""
        if error.kind is not None:
            await self.delete(caller, file_id)

    async def delete(self, caller: Caller, file_id: str) -> None:
        """Delete the row of a file, if there is one."""
        with suppress(NotFoundError):
            await self._background.finish(self._store.delete(caller.tenant, file_id, self._account.provider))

    async def _key_for_unknown(self, caller: Caller, request: OnFile) -> UpstreamKey | None:
        """Return the key to ask for a file without a row; None if it must not be asked for."""
        provider, key = self._account.provider, self._account.key_for_unknown(caller)
        if key is None or request.provider not in (provider, PROVIDER_UNSPECIFIED):
            return None
        caller.require(provider)
        others = await self._store.foreign(caller.tenant, request.file_id)
        return None if self._accounts.holds_for_others(others) else key

    async def _adopt(self, caller: Caller, file: File, key: UpstreamKey, *, adopted_at: int | None = None) -> None:
        account = self._account
        since = account.now() if adopted_at is None else adopted_at
        record = FileRecord(file, caller.tenant, account.provider, key=key.name, adopted_at=since)
        try:
            is_new = await self._background.finish(self._store.adopt(record))
        except StorageError as error:
            account.log.warning("file.adopt_failed", file_id=file.id, reason=error.message)
            return
        if is_new:
            log_adoption(account.log, "file.adopted", caller, provider=account.name, id=file.id)
