"""Checks the ids of files that a caller wants a provider to copy.

In an account of the caller's own the provider checks them, except for what it cannot know: which files Berth keeps for
other tenants, and which the caller may not use. In a shared account, only files that Berth knows can be copied. The
files of all providers are checked, because two providers may share one account.
"""

from collections.abc import Sequence
from typing import NamedTuple

from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.hosted.container_rules import MAX_FILE_IDS
from berth.core.ports.file_store import FileStore
from berth.core.routing.accounts import Accounts
from berth.core.validation import check_length, file_not_found, unknown_file
from berth.v1.provider_pb2 import Provider


class Found(NamedTuple):
    """The name of the key that uploaded the first of the files that is known, None if none is, and the unknown ones."""

    key: str | None
    unknown: list[str]


class FileReferences:
    """Looks up file ids in `store`, for containers of `provider`.

    `accounts` says which are the caller's own; without it, every unknown id is left to the provider.
    """

    def __init__(self, store: FileStore, provider: Provider, accounts: Accounts | None = None) -> None:
        self._store = store
        self._provider = provider
        self._accounts = accounts

    async def find(self, caller: Caller, file_ids: Sequence[str], *, param: str | None = None) -> Found:
        """Look up files that the caller wants to copy.

        InvalidRequestError for a file of another tenant, and in a shared account for an unknown one, as
        if it did not exist: the error names `param`, or the position in `file_ids`. There, too many
        files are an error as well.
        PermissionDeniedError for a file of a provider that the caller may not use.
        """
        if self._accounts is not None and not self._accounts.admits_unknown(caller, self._provider):
            check_length(len(file_ids), "file_ids", maximum=MAX_FILE_IDS, what="array", unit="length")
        keys, unknown = [], []
        for index, file_id in enumerate(file_ids):
            try:
                keys.append(await self._key(caller, file_id))
            except NotFoundError:
                if not await self._may_send(caller, file_id):
                    raise unknown_file(file_id, param or f"file_ids[{index}]") from None
                unknown.append(file_id)
        return Found(next(filter(None, keys), None), unknown)

    async def _key(self, caller: Caller, file_id: str) -> str | None:
        found = await self._store.get(caller.tenant, file_id)
        caller.require(found.provider)
        if found.adopted_at is not None and not await self._may_send(caller, file_id):
            raise file_not_found(file_id)  # an adopted row grants nothing
        return found.key if found.provider == self._provider else None  # the keys of another provider are unknown here

    async def _may_send(self, caller: Caller, file_id: str) -> bool:
        """Return whether the provider may be asked for a file that the caller does not have here."""
        if self._accounts is None:
            return not await self._store.is_foreign(caller.tenant, file_id)
        if not self._accounts.admits_unknown(caller, self._provider):
            return False
        return not self._accounts.holds_for_others(await self._store.foreign(caller.tenant, file_id))
