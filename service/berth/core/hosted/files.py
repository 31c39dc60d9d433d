"""Hosted files of the Files API: rows in a FileStore, content in a BlobStore."""

from collections.abc import Callable

from berth.core.additional_fields import FILE_FIELDS, refuse_unknown
from berth.core.caller import Caller
from berth.core.hosted.content import ContentStore
from berth.core.hosted.file_writer import DEFAULT_CONTENT_TYPE
from berth.core.limits import limits_of
from berth.core.paths import clean_filename
from berth.core.ports.backend import BeforeCommit, Content, nothing
from berth.core.ports.container_store import Quotas
from berth.core.ports.file_backend import FileUpload
from berth.core.ports.file_store import FileRecord, FileStore
from berth.core.routing.file_ownership import FileOwnership
from berth.core.validation import check_choice, check_integer, missing
from berth.v1.file_pb2 import File, FileExpiresAfter
from berth.v1.file_service_pb2 import (
    CreateFileRequest,
    DeleteFileRequest,
    DeleteFileResponse,
    ListFilesRequest,
    ListFilesResponse,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)

FILE_ID = ("file-", 24)
PURPOSES = tuple(limits_of(CreateFileRequest, "purpose").values)
ANCHOR = "created_at"
SECONDS = limits_of(FileExpiresAfter, "seconds")
"""One hour, and thirty days."""


class HostedFiles:
    """A FileBackend on a FileStore and a ContentStore, for every hosted provider.

    `now` returns seconds since 1970; `new_id` returns an unguessable id made of a prefix and a
    number of hexadecimal digits.
    """

    def __init__(
        self,
        *,
        store: FileStore,
        content: ContentStore,
        quotas: Quotas,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
    ) -> None:
        self._store = store
        self._content = content
        self._quotas = quotas
        self._now = now
        self._new_id = new_id
        self._ownership = FileOwnership(store)

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Store a file; see FileBackend. Errors that are known early are raised before any byte is read."""
        filename = clean_filename(upload.filename)
        _check_early(upload)
        stored = await self._content.put(upload.chunks(), before_commit=before_commit)
        made: list[File] = []

        async def add() -> str:
            file = self._new_file(upload, filename, size=stored.bytes)
            made.append(file)
            record = FileRecord(
                file,
                caller.tenant,
                upload.provider,
                content_type=upload.content_type or DEFAULT_CONTENT_TYPE,
                sha256=stored.sha256,
                blob=stored.blob,
                attempt=caller.options.attempt,
                block_sums=stored.block_sums,
                created_by=caller.name,
            )
            return await self._store.add(record, quotas=self._quotas)

        await self._content.commit(stored, add, rows=self._store)
        made[0].extra_fields.provider = upload.provider
        return made[0]

    async def list_files(self, caller: Caller, request: ListFilesRequest) -> ListFilesResponse:
        """Return a page of files; see FileBackend."""
        return await self._ownership.files(caller, request)

    async def retrieve_file(self, caller: Caller, request: RetrieveFileRequest) -> File:
        """Return a file; see FileBackend."""
        record = await self._ownership.file(caller, request.file_id, provider=request.provider)
        record.file.extra_fields.provider = record.provider
        return record.file

    async def retrieve_file_content(self, caller: Caller, request: RetrieveFileContentRequest) -> Content:
        """Open the content of a file; see FileBackend."""
        record = await self._ownership.file(caller, request.file_id, provider=request.provider)
        return await self._content.open(
            record.stored,
            request,
            rows=self._store,
            provider=record.provider,
            filename=record.file.filename,
            content_type=record.content_type,
            modified_at=record.file.created_at,
        )

    async def delete_file(self, caller: Caller, request: DeleteFileRequest) -> DeleteFileResponse:
        """Delete a file; see FileBackend."""
        record = await self._ownership.file(caller, request.file_id, provider=request.provider)
        await self._content.release(self._store.delete(caller.tenant, request.file_id))
        response = DeleteFileResponse(id=request.file_id, object="file", deleted=True)
        response.extra_fields.provider = record.provider
        return response

    def _new_file(self, upload: FileUpload, filename: str, *, size: int) -> File:
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
    """Check the fields that are known before the file arrives; others may follow it."""
    refuse_unknown(upload.additional_fields, known=FILE_FIELDS)
    if upload.purpose is not None:
        check_choice(upload.purpose, "purpose", choices=PURPOSES)
    if upload.expires_after is not None and upload.expires_after.anchor and upload.expires_after.seconds:
        checked_expiry(upload.expires_after)


def checked_expiry(given: FileExpiresAfter | None) -> FileExpiresAfter | None:
    """Return the expiry of a new file. InvalidRequestError for an invalid anchor or number of seconds."""
    if given is None:
        return None
    if not given.anchor:
        raise missing("expires_after.anchor")
    check_choice(given.anchor, "expires_after.anchor", choices=(ANCHOR,))
    if not given.seconds:
        raise missing("expires_after.seconds")
    check_integer(given.seconds, "expires_after.seconds", minimum=SECONDS.minimum, maximum=SECONDS.maximum)
    return given
