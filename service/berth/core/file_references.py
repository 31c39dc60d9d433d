"""What is known of the ids of files that a caller wants copied at a provider.

The provider judges them, but for one thing that it cannot know: which are
another tenant's.
"""

from collections.abc import Sequence

from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.file_store import FileStore
from berth.core.new_container import unknown_file


class FileReferences:
    """Looks up ids of files in `store`."""

    def __init__(self, store: FileStore) -> None:
        self._store = store

    async def key_of(self, caller: Caller, file_ids: Sequence[str], *, param: str | None = None) -> str | None:
        """Return the name of the key that the first known one of the caller's files was made with, None if none is.

        InvalidRequestError for one that is another tenant's, as if there were
        none: it names `param`, or the place in `file_ids`.
        """
        names = []
        for index, file_id in enumerate(file_ids):
            if await self._store.is_foreign(caller.tenant, file_id):
                raise unknown_file(file_id, param or f"file_ids[{index}]")
            names.append(await self._key(caller.tenant, file_id))
        return next(filter(None, names), None)

    async def _key(self, tenant: str, file_id: str) -> str | None:
        try:
            return (await self._store.get(tenant, file_id)).key
        except NotFoundError:
            return None
