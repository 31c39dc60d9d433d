"""Writes files into hosted containers: first the content, unless another file already has it, then the row."""

from collections.abc import Callable, Sequence

from berth.core.additional_fields import CONTAINER_FILE_FIELDS, refuse_unknown
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.hosted.content import ContentStore
from berth.core.paths import UNIQUE_DIGITS, clean_filename, container_path
from berth.core.ports.backend import BeforeCommit, Upload
from berth.core.ports.container_store import ContainerFileRecord, ContainerStore, Quotas
from berth.core.ports.file_store import FileRecord
from berth.core.routing.file_ownership import FileOwnership
from berth.core.validation import unknown_file
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED

FILE_ID = ("cfile_", 32)
DEFAULT_CONTENT_TYPE = "application/octet-stream"


class ContainerFileWriter:
    """Adds files to hosted containers, completely or not at all."""

    def __init__(
        self,
        *,
        store: ContainerStore,
        files: FileOwnership,
        content: ContentStore,
        quotas: Quotas,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        background: BackgroundTasks,
    ) -> None:
        self._store = store
        self._files = files
        self._content = content
        self._quotas = quotas
        self._now = now
        self._new_id = new_id
        self._background = background

    async def write(self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit) -> ContainerFile:
        """Store the content of `upload` and then its row, marked with the caller's attempt.

        InvalidRequestError for an invalid name, path or size; NotFoundError if the container was
        deleted in the meantime.
        """
        refuse_unknown(upload.additional_fields, known=CONTAINER_FILE_FIELDS)
        file_id, unique = self._new_id(*FILE_ID), self._new_id("", UNIQUE_DIGITS)
        filename = clean_filename(upload.filename)
        container_path(upload.file_path, filename, unique=unique)  # an invalid path is rejected before the upload
        stored = await self._content.put(upload.chunks(), before_commit=before_commit)
        made: list[ContainerFile] = []

        async def add() -> str:
            refuse_unknown(upload.additional_fields, known=CONTAINER_FILE_FIELDS)  # form fields may follow the file
            file = ContainerFile(
                id=file_id,
                object="container.file",
                container_id=upload.container_id,
                path=container_path(upload.file_path, filename, unique=unique),
                bytes=stored.bytes,
                created_at=self._now(),
                source="user",
            )
            content_type = upload.content_type or DEFAULT_CONTENT_TYPE
            record = ContainerFileRecord(
                file,
                filename,
                content_type,
                sha256=stored.sha256,
                blob=stored.blob,
                attempt=caller.options.attempt,
                block_sums=stored.block_sums,
            )
            made.append(file)
            if not upload.replaces:
                return await self._store.add_file(caller.tenant, record, quotas=self._quotas)
            changes = await self._store.replace_file(caller.tenant, record, quotas=self._quotas)
            made[:] = changes.files
            await self._content.delete([blob for blob in changes.unreferenced if blob != stored.blob])
            return "" if stored.blob in changes.unreferenced else stored.blob

        await self._content.commit(stored, add, rows=self._store)
        return made[0]

    async def copy(self, caller: Caller, upload: Upload, *, file_id: str) -> ContainerFile:
        """Copy a file of the caller without copying its content. InvalidRequestError if there is no such file."""
        refuse_unknown(upload.additional_fields, known=CONTAINER_FILE_FIELDS)
        source = await self._find_source(caller, file_id, "file_id")
        copy = self._new_copy(source, upload.container_id, file_path=upload.file_path, attempt=caller.options.attempt)
        try:
            await self._background.finish(self._store.copy_file(caller.tenant, copy, quotas=self._quotas))
        except NotFoundError:
            await self._find_source(caller, file_id, "file_id")  # raises if the file, not the container, was deleted
            raise
        return copy.file

    async def copies(self, caller: Caller, file_ids: Sequence[str], *, container_id: str) -> list[ContainerFileRecord]:
        """Return the container files that a new container gets from the caller's files.

        InvalidRequestError, naming the position in `file_ids`, for an id that is not one of the
        caller's files.
        """
        sources = [await self._find_source(caller, file_id, f"file_ids[{i}]") for i, file_id in enumerate(file_ids)]
        return [self._new_copy(source, container_id) for source in sources]

    async def _find_source(self, caller: Caller, file_id: str, param: str) -> FileRecord:
        try:
            found = await self._files.file(caller, file_id, provider=PROVIDER_UNSPECIFIED)
        except (NotFoundError, InvalidRequestError):
            raise unknown_file(file_id, param) from None
        if found.key:  # its content is at a provider
            raise unknown_file(file_id, param)
        return found

    def _new_copy(
        self, source: FileRecord, container_id: str, *, file_path: str | None = None, attempt: str | None = None
    ) -> ContainerFileRecord:
        name = source.file.filename
        file = ContainerFile(
            id=self._new_id(*FILE_ID),
            object="container.file",
            container_id=container_id,
            path=container_path(file_path, name, unique=self._new_id("", UNIQUE_DIGITS)),
            bytes=source.file.bytes,
            created_at=self._now(),
            source="user",
        )
        return ContainerFileRecord(file, name, source.content_type, source.sha256, source.blob, attempt=attempt)
