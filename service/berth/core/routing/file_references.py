"""Checks the ids of files that a caller wants a provider to copy.

The provider checks the ids itself, except for what it cannot know: which files belong to another
tenant, and which the caller may not use. The files of all providers are checked, because two
providers may share one account.
"""

from collections.abc import Sequence

from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.ports.file_store import FileStore
from berth.core.validation import unknown_file
from berth.v1.provider_pb2 import Provider


class FileReferences:
    """Looks up file ids in `store`, for containers of `provider`."""

    def __init__(self, store: FileStore, provider: Provider) -> None:
        self._store = store
        self._provider = provider

    async def key_of(self, caller: Caller, file_ids: Sequence[str], *, param: str | None = None) -> str | None:
        """Return the name of the key that uploaded the first of the caller's files that is known, None if none is.

        InvalidRequestError for a file of another tenant, as if it did not exist: the error names
        `param`, or the position in `file_ids`. PermissionDeniedError for a file of a provider that
        the caller may not use.
        """
        names = []
        for index, file_id in enumerate(file_ids):
            if await self._store.is_foreign(caller.tenant, file_id):
                raise unknown_file(file_id, param or f"file_ids[{index}]")
            names.append(await self._key(caller, file_id))
        return next(filter(None, names), None)

    async def _key(self, caller: Caller, file_id: str) -> str | None:
        try:
            found = await self._store.get(caller.tenant, file_id)
        except NotFoundError:
            return None
        caller.require(found.provider)
        return found.key if found.provider == self._provider else None  # the keys of another provider are unknown here
