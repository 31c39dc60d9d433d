"""An upload that is digested while it passes, so that two can be told apart afterwards."""

from collections.abc import AsyncIterator
from hashlib import sha256

from berth.core.backend import Upload
from berth.v1.provider_pb2 import Provider


class ObservedUpload:
    """An Upload that is `upload`, and knows what has passed of it."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload
        self._digest = sha256()
        self._has_ended = False

    @property
    def container_id(self) -> str:
        """The container to put the file into."""
        return self._upload.container_id

    @property
    def provider(self) -> Provider:
        """The provider that was named, or PROVIDER_UNSPECIFIED."""
        return self._upload.provider

    @property
    def file_id(self) -> str | None:
        """The existing file to copy, instead of bytes."""
        return self._upload.file_id

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, if it did."""
        return self._upload.filename

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, if it did."""
        return self._upload.content_type

    @property
    def file_path(self) -> str | None:
        """Where the caller wants the file."""
        return self._upload.file_path

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once."""
        async for chunk in self._upload.chunks():
            self._digest.update(chunk)
            yield chunk
        self._has_ended = True

    async def read_through(self) -> None:
        """Read all bytes and keep none."""
        async for _ in self.chunks():
            pass

    @property
    def is_read(self) -> bool:
        """Whether all of it has passed; where a file is copied, there is nothing to pass."""
        return self._has_ended or self.file_id is not None

    @property
    def sha256(self) -> str:
        """The digest of what has passed, 64 hexadecimal digits."""
        return self._digest.hexdigest()

    def parts(self) -> list[bytes]:
        """Return all that makes the upload what it is; final once it is read."""
        fields = (self.file_id, self.filename, self.content_type, self.file_path)
        return [b"" if field is None else b"=" + field.encode("utf-8", "surrogatepass") for field in fields] + [
            self._digest.digest()
        ]
