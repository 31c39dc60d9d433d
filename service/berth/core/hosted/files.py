"""The files, in no container, that Berth keeps itself: rows in a FileStore, bytes in a BlobStore."""

from collections.abc import Callable

from berth.core.additional_fields import FILE_FIELDS, refuse_unknown
from berth.core.background import Completion
from berth.core.caller import Caller
from berth.core.hosted.content import Stowage
from berth.core.hosted.file_writer import DEFAULT_CONTENT_TYPE
from berth.core.paths import clean_filename
from berth.core.ports.backend import Content
from berth.core.ports.file_backend import FileUpload
from berth.core.ports.file_store import FileStore, StoredFile
from berth.core.ports.stores import BlobStore, Quotas
from berth.core.routing.file_ownership import FileCatalogue
from berth.core.validation import check_choice, check_integer, missing
from berth.v1.file_pb2 import File, FileExpiresAfter
from berth.v1.file_service_pb2 import (
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)

FILE_ID = ("file-", 24)
PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
ANCHOR = "created_at"
MIN_SECONDS, MAX_SECONDS = 3_600, 2_592_000
"""An hour, and thirty days."""


class HostedFiles:
    """A FileBackend on a FileStore and a BlobStore, for every provider that is hosted.

    `now` gives seconds since 1970; `new_id` makes an id that nobody can guess
    of a prefix and a number of hexadecimal digits.
    """

    def __init__(
        self,
        *,
        store: FileStore,
        blobs: BlobStore,
        stowage: Stowage,
        quotas: Quotas,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        completion: Completion,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._stowage = stowage
        self._quotas = quotas
        self._now = now
        self._new_id = new_id
        self._completion = completion
        self._catalogue = FileCatalogue(store)

    async def create_file(self, caller: Caller, upload: FileUpload) -> File:
        """Store a file; see FileBackend. What is wrong with it from the start costs no upload."""
        filename = clean_filename(upload.filename)
        _check_early(upload)
        stored = await self._stowage.put(upload.chunks())
        made: list[File] = []

        async def add() -> str:
            file = self._file(upload, filename, size=stored.bytes)
            made.append(file)
            record = StoredFile(
                file,
                caller.tenant,
                upload.provider,
                content_type=upload.content_type or DEFAULT_CONTENT_TYPE,
                sha256=stored.sha256,
                blob=stored.blob,
                attempt=caller.options.attempt,
            )
            return await self._store.add(record, quotas=self._quotas)

        await self._stowage.keep(stored, add, rows=self._store)
        made[0].extra_fields.provider = upload.provider
        return made[0]

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of files; see FileBackend."""
        return await self._catalogue.files(caller, request)

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file; see FileBackend."""
        record = await self._catalogue.file(caller, request.file_id, provider=request.provider)
        record.file.extra_fields.provider = record.provider
        return record.file

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open a file; see FileBackend."""
        record = await self._catalogue.file(caller, request.file_id, provider=request.provider)
        chunks, length = await self._stowage.read(record.stored, request, rows=self._store)
        return Content(
            provider=record.provider,
            filename=record.file.filename,
            content_type=record.content_type,
            sha256=record.sha256,
            length=length,
            chunks=chunks,
            size=record.file.bytes,
            etag=f'"{record.sha256}"',
            modified_at=record.file.created_at,
        )

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file; see FileBackend."""
        record = await self._catalogue.file(caller, request.file_id, provider=request.provider)
        await self._completion.of(self._delete(caller.tenant, request.file_id))
        response = DeleteFileResponse(id=request.file_id, object="file", deleted=True)
        response.extra_fields.provider = record.provider
        return response

    async def _delete(self, tenant: str, file_id: str) -> None:
        await self._blobs.delete(await self._store.delete(tenant, file_id))

    def _file(self, upload: FileUpload, filename: str, *, size: int) -> File:
        refuse_unknown(upload.additional_fields, known=FILE_FIELDS)
        if not upload.purpose:
            raise missing("purpose")
        created_at = self._now()
        expiry = checked_expiry(upload.expires_after)
        return File(
            id=self._new_id(*FILE_ID),
            object="file",
            bytes=size,
            created_at=created_at,
            expires_at=None if expiry is None else created_at + expiry.seconds,
            filename=filename,
            purpose=check_choice(upload.purpose, "purpose", choices=PURPOSES),
            status="processed",
        )


def _check_early(upload: FileUpload) -> None:
    """Check what is known before the file: the rest may follow it."""
    refuse_unknown(upload.additional_fields, known=FILE_FIELDS)
    if upload.purpose is not None:
        check_choice(upload.purpose, "purpose", choices=PURPOSES)
    if upload.expires_after is not None and upload.expires_after.anchor and upload.expires_after.seconds:
        checked_expiry(upload.expires_after)


def checked_expiry(given: FileExpiresAfter | None) -> FileExpiresAfter | None:
    """Return when a new file goes. InvalidRequestError for an anchor or seconds that cannot be."""
    if given is None:
        return None
    if not given.anchor:
        raise missing("expires_after.anchor")
    check_choice(given.anchor, "expires_after.anchor", choices=(ANCHOR,))
    if not given.seconds:
        raise missing("expires_after.seconds")
    check_integer(given.seconds, "expires_after.seconds", minimum=MIN_SECONDS, maximum=MAX_SECONDS)
    return given
