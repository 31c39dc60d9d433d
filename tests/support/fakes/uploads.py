"""An Upload of given chunks, for tests that need no server."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from berth.core.caller import Caller
from berth.core.ports.backend import Backend
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.file_pb2 import FileExpiresAfter
from berth.v1.provider_pb2 import Provider


@dataclass
class GivenUpload:
    """An Upload; `then`, if given, is called when the last chunk was taken."""

    container_id: str
    content: tuple[bytes, ...] = (b"hel", b"lo")
    provider: Provider = Provider.PROVIDER_UNSPECIFIED
    file_id: str | None = None
    filename: str | None = "a.txt"
    content_type: str | None = "text/plain"
    file_path: str | None = None
    replaces: bool = False
    additional_fields: Sequence[AdditionalField] = ()
    then: Callable[[], object] | None = None

    @property
    def has_file(self) -> bool:
        """Whether there are bytes to upload."""
        return self.file_id is None

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the chunks."""
        for chunk in self.content:
            yield chunk
        if self.then is not None:
            self.then()


@dataclass
class GivenFile:
    """A FileUpload."""

    provider: Provider
    content: tuple[bytes, ...] = (b"hel", b"lo")
    purpose: str | None = "batch"
    filename: str | None = "a.txt"
    content_type: str | None = "text/plain"
    expires_after: FileExpiresAfter | None = None
    additional_fields: Sequence[AdditionalField] = ()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the chunks."""
        for chunk in self.content:
            yield chunk


Given = TypeVar("Given", bound=GivenUpload | GivenFile)


def stalled(given: Given, *, breaks: bool = False) -> tuple[Given, asyncio.Event, asyncio.Event]:
    """Return what is given, waiting behind its first chunk, that it has begun, and what lets it go on, or break."""
    upload, begun, go = replace(given), asyncio.Event(), asyncio.Event()

    async def chunks() -> AsyncIterator[bytes]:
        async for chunk in given.chunks():
            yield chunk
            begun.set()
            await go.wait()
            if breaks:
                raise ConnectionError

    upload.chunks = chunks  # type: ignore[method-assign] # of this one alone
    return upload, begun, go


async def put_file(
    backend: Backend, caller: Caller, container_id: str, *, content: bytes = b"hello", file_path: str | None = None
) -> ContainerFile:
    """Store a file of a few bytes."""
    return await backend.create_container_file(caller, GivenUpload(container_id, (content,), file_path=file_path))
