"""Uploads that are digested while they pass, so that two can be told apart afterwards."""

from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Generic, TypeVar

from berth.core.idempotency.request import AtEnd, nothing
from berth.core.ports.backend import Upload
from berth.core.ports.file_backend import FileUpload
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.file_pb2 import FileExpiresAfter
from berth.v1.provider_pb2 import Provider

U = TypeVar("U", bound=Upload | FileUpload)


class _Observed(Generic[U]):
    """An upload that is `upload`, and knows what has passed of it; see Asked."""

    def __init__(self, upload: U) -> None:
        self.at_end: AtEnd = nothing
        self._upload = upload
        self._digest = sha256()
        self._has_ended = False

    @property
    def provider(self) -> Provider:
        """The provider that was named, or PROVIDER_UNSPECIFIED."""
        return self._upload.provider

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, if it did."""
        return self._upload.filename

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, if it did."""
        return self._upload.content_type

    @property
    def additional_fields(self) -> Sequence[AdditionalField]:
        """What the contract has no field for."""
        return self._upload.additional_fields

    @property
    def is_read(self) -> bool:
        """Whether all of it has passed."""
        return self._has_ended

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once."""
        async for chunk in self._upload.chunks():
            self._digest.update(chunk)
            yield chunk
        await self.at_end()
        self._has_ended = True

    async def read_through(self) -> None:
        """Read all bytes and keep none."""
        async for _ in self.chunks():
            pass

    def _parts(self, *fields: str | None) -> list[bytes]:
        told = [b"" if field is None else b"=" + field.encode("utf-8", "surrogatepass") for field in fields]
        additional = [field.SerializeToString(deterministic=True) for field in self.additional_fields]
        return [*told, self._digest.digest(), *additional]


class ObservedUpload(_Observed[Upload]):
    """An Upload that is digested while it passes."""

    @property
    def container_id(self) -> str:
        """The container to put the file into."""
        return self._upload.container_id

    @property
    def file_id(self) -> str | None:
        """The existing file to copy, instead of bytes."""
        return self._upload.file_id

    @property
    def file_path(self) -> str | None:
        """Where the caller wants the file."""
        return self._upload.file_path

    @property
    def is_read(self) -> bool:
        """Whether all of it has passed; where a file is copied, there is nothing to pass."""
        return super().is_read or self.file_id is not None

    def parts(self) -> list[bytes]:
        """Return all that makes the upload what it is; final once it is read."""
        return self._parts(self.file_id, self.filename, self.content_type, self.file_path)


class ObservedFile(_Observed[FileUpload]):
    """A FileUpload that is digested while it passes."""

    @property
    def purpose(self) -> str | None:
        """What the file is for, as the caller sent it, if it did."""
        return self._upload.purpose

    @property
    def expires_after(self) -> FileExpiresAfter | None:
        """When the file is to go by itself, if it is."""
        return self._upload.expires_after

    def parts(self) -> list[bytes]:
        """Return all that makes the upload what it is; final once it is read."""
        expiry = self.expires_after
        told = None if expiry is None else f"{expiry.seconds} {expiry.anchor}"
        return self._parts(self.filename, self.content_type, self.purpose, told)
