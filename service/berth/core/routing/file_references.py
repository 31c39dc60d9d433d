"""What is known of the ids of files that a caller wants copied at a provider.

The provider judges them, but for what it cannot know: which are another
tenant's, and which the caller may not use. Two providers may be one account.
"""

from collections.abc import Sequence

from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.ports.file_store import FileStore
from berth.core.validation import unknown_file
from berth.v1.provider_pb2 import Provider


class FileReferences:
    """Looks up ids of files in `store`, for containers of `provider`."""

    def __init__(self, store: FileStore, provider: Provider) -> None:
        self._store = store
        self._provider = provider

    async def key_of(self, caller: Caller, file_ids: Sequence[str], *, param: str | None = None) -> str | None:
        """Return the name of the key that made the first of the caller's files that is known here, None if none is.

        InvalidRequestError for one that is another tenant's, as if there were
        none: it names `param`, or the place in `file_ids`. PermissionDeniedError
        for one of a provider that the caller may not use.
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
        return found.key if found.provider == self._provider else None  # another provider's keys are not known here
