"""Fingerprints of requests, which distinguish different requests with the same idempotency key.

A key is stored as a hash, and a request as an HMAC with the key; without the key, neither reveals
anything about the request.
"""

import hmac
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Generic, Protocol, TypeVar

from berth.core.ports.backend import Upload
from berth.core.ports.file_backend import FileUpload
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.file_pb2 import FileExpiresAfter
from berth.v1.provider_pb2 import Provider

U = TypeVar("U", bound=Upload | FileUpload)


def hash_of(key: str) -> bytes:
    """Return the hash under which a caller's key is stored."""
    return sha256(key.encode()).digest()


def fingerprint_of(key: str, *parts: bytes) -> bytes:
    """Return the HMAC of the `parts` of a request with `key`."""
    digest = hmac.new(key.encode(), digestmod=sha256)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


class RequestContent(Protocol):
    """The content of a request that its fingerprint depends on: known at once, or read from an upload."""

    @property
    def is_read(self) -> bool:
        """Whether `parts` is final."""

    def parts(self) -> list[bytes]:
        """Return what identifies the content; it is final once the content is read."""

    async def read_through(self) -> None:
        """Read all content that is left and discard it."""


class KnownContent:
    """Content that is known at once; see RequestContent."""

    is_read = True

    def __init__(self, body: bytes) -> None:
        self._body = body

    def parts(self) -> list[bytes]:
        """Return the content."""
        return [self._body]

    async def read_through(self) -> None:
        """Read nothing more."""


class _HashingUpload(Generic[U]):
    """An upload that hashes the bytes of `upload` while they are read; see RequestContent."""

    def __init__(self, upload: U) -> None:
        self._upload = upload
        self._digest = sha256()
        self._has_ended = False

    @property
    def provider(self) -> Provider:
        """The provider that was named, or PROVIDER_UNSPECIFIED."""
        return self._upload.provider

    @property
    def filename(self) -> str | None:
        """The file's name as the caller sent it, None if there is none."""
        return self._upload.filename

    @property
    def content_type(self) -> str | None:
        """The file's media type as the caller sent it, None if there is none."""
        return self._upload.content_type

    @property
    def additional_fields(self) -> Sequence[AdditionalField]:
        """The fields that the contract does not define."""
        return self._upload.additional_fields

    @property
    def is_read(self) -> bool:
        """Whether all bytes were read."""
        return self._has_ended

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes once."""
        async for chunk in self._upload.chunks():
            self._digest.update(chunk)
            yield chunk
        self._has_ended = True

    async def read_through(self) -> None:
        """Read all bytes and discard them."""
        async for _ in self.chunks():
            pass

    def _parts(self, *fields: str | None) -> list[bytes]:
        given = [b"" if field is None else b"=" + field.encode("utf-8", "surrogatepass") for field in fields]
        additional = [field.SerializeToString(deterministic=True) for field in self.additional_fields]
        return [*given, self._digest.digest(), *additional]


class HashedUpload(_HashingUpload[Upload]):
    """An Upload of a container file; see RequestContent."""

    @property
    def has_file(self) -> bool:
        """Whether there is a file to upload."""
        return self._upload.has_file

    @property
    def container_id(self) -> str:
        """The container to add the file to."""
        return self._upload.container_id

    @property
    def file_id(self) -> str | None:
        """The id of an existing file to copy instead of uploading bytes, None for an upload."""
        return self._upload.file_id

    @property
    def file_path(self) -> str | None:
        """The path that the caller wants for the file, None if any will do."""
        return self._upload.file_path

    @property
    def replaces(self) -> bool:
        """Whether a file that has the path gets the content."""
        return self._upload.replaces

    @property
    def is_read(self) -> bool:
        """Whether all bytes were read; a copy has none to read."""
        return super().is_read or self.file_id is not None

    def parts(self) -> list[bytes]:
        """Return what identifies the upload; it is final once the content is read."""
        return self._parts(self.file_id, self.filename, self.content_type, self.file_path)


class HashedFile(_HashingUpload[FileUpload]):
    """A FileUpload; see RequestContent."""

    @property
    def purpose(self) -> str | None:
        """The purpose of the file as the caller sent it, None if there is none."""
        return self._upload.purpose

    @property
    def expires_after(self) -> FileExpiresAfter | None:
        """When the file expires, None if it does not."""
        return self._upload.expires_after

    def parts(self) -> list[bytes]:
        """Return what identifies the upload; it is final once the content is read."""
        expiry = self.expires_after
        given = None if expiry is None else f"{expiry.seconds} {expiry.anchor}"
        return self._parts(self.filename, self.content_type, self.purpose, given)
