"""How a file gets into a hosted container: the bytes first, then the row."""

from collections.abc import AsyncIterator, Callable
from hashlib import sha256

from berth.core.backend import Upload
from berth.core.completion import Completion
from berth.core.errors import InvalidRequestError
from berth.core.new_container import HostedLimits
from berth.core.paths import UNIQUE_DIGITS, clean_filename, container_path
from berth.core.stores import BlobStore, ContainerStore, FileRecord
from berth.v1.container_file_pb2 import ContainerFile

FILE_ID = ("cfile_", 32)
BLOB_DIGITS = 40
DEFAULT_CONTENT_TYPE = "application/octet-stream"


class Intake:
    """Stores uploads: whole, with their digest, or not at all."""

    def __init__(
        self,
        *,
        store: ContainerStore,
        blobs: BlobStore,
        limits: HostedLimits,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        completion: Completion,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._limits = limits
        self._now = now
        self._new_id = new_id
        self._completion = completion

    async def take(self, tenant: str, upload: Upload, *, attempt: str | None = None) -> ContainerFile:
        """Store the bytes of `upload` and then its row, marked with `attempt`.

        InvalidRequestError for a name, path or size that cannot be, NotFoundError
        if the container went away meanwhile.
        """
        file_id, unique = self._new_id(*FILE_ID), self._new_id("", UNIQUE_DIGITS)
        filename = clean_filename(upload.filename)
        container_path(upload.file_path, filename, unique=unique)  # a bad path costs no upload
        blob = new_blob(self._new_id)
        tally = _Tally(upload.chunks(), maximum=self._limits.max_file_bytes)
        await self._blobs.put(blob, aiter(tally))
        try:
            file = ContainerFile(
                id=file_id,
                object="container.file",
                container_id=upload.container_id,
                path=container_path(upload.file_path, filename, unique=unique),
                bytes=tally.bytes,
                created_at=self._now(),
                source="user",
            )
        except InvalidRequestError:
            await self._completion.of(self._blobs.delete([blob]))
            raise
        content_type = upload.content_type or DEFAULT_CONTENT_TYPE
        record = FileRecord(file, filename, content_type, sha256=tally.sha256, blob=blob, attempt=attempt)
        await self._completion.of(self._add(tenant, record))
        return file

    async def _add(self, tenant: str, record: FileRecord) -> None:
        try:
            held = await self._store.add_file(tenant, record, quotas=self._limits.quotas)
        except Exception:
            await self._blobs.delete([record.blob])
            raise
        if held != record.blob:
            await self._blobs.delete([record.blob])


def new_blob(new_id: Callable[[str, int], str]) -> str:
    """Return a key for a blob, spread over folders by its beginning."""
    name = new_id("", BLOB_DIGITS)
    return f"{name[:2]}/{name}"


class _Tally:
    """Passes chunks on, counting and digesting them, and stops at `maximum` bytes."""

    def __init__(self, chunks: AsyncIterator[bytes], *, maximum: int) -> None:
        self._chunks = chunks
        self._maximum = maximum
        self._digest = sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """The digest of what has passed, 64 hexadecimal digits."""
        return self._digest.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self.bytes += len(chunk)
            if self.bytes > self._maximum:
                message = f"The file is too large: at most {self._maximum} bytes are allowed."
                raise InvalidRequestError(message, param="file", code="file_too_large")
            self._digest.update(chunk)
            yield chunk
