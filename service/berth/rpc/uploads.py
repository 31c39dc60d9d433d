"""Bodies of CreateContainerFile → uploads, and what those of CreateFile have in common with them.

A body is a form (multipart/form-data), a JSON object, or the file itself; which
one, the content type of the first message says. Bytes are read as they arrive:
up to the file when the upload is opened, and the file while it is stored.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import TypeVar

import orjson

from berth.core.checks import check_length, invalid, missing
from berth.core.errors import InvalidRequestError
from berth.core.providers import PROVIDERS
from berth.rpc.forms import FILE, Form
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.provider_pb2 import Provider

MAX_JSON_BYTES = 65_536
"""Room for a JSON body, which holds an id and a path."""
MAX_CONTENT_TYPE_LENGTH = 255
_CONTENT_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)

T = TypeVar("T")
R = TypeVar("R", CreateContainerFileRequest, CreateFileRequest)


class StreamedBytes(ABC):
    """What uploads have in common that are read from a stream of requests: the file, its name and its type."""

    def __init__(self, first: CreateContainerFileRequest | CreateFileRequest) -> None:
        self.provider: Provider = first.provider
        self.filename = first.filename if first.HasField("filename") else None
        self.content_type = first.content_type or None
        self._chunks: AsyncIterator[bytes] = _nothing()
        self._has_bytes = False

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file."""
        return self._chunks

    async def _read_body(self, bodies: AsyncIterator[bytes], *, body_type: str) -> bool:
        """Read `bodies`, of the media type `body_type`, up to the file's first byte; False if there is no file."""
        if self.content_type is None and _media_type(body_type) == "multipart/form-data":
            return await self._read_form(Form(body_type, bodies, take=self._take, take_late=self._take_late))
        return await self._read_bytes(bodies, body_type)

    @abstractmethod
    def _take(self, name: str, value: str) -> None:
        """Set a field that stands before the file."""

    @abstractmethod
    def _take_late(self, name: str, value: str) -> None:
        """Set a field that stands behind the file."""

    async def _read_form(self, form: Form) -> bool:
        has_file = await form.find_file()
        self._chunks = form.file()
        self.filename = form.filename or self.filename
        self.content_type = form.content_type
        return has_file

    async def _read_bytes(self, bodies: AsyncIterator[bytes], body_type: str) -> bool:
        described = bool(self.filename or self.content_type or body_type)
        self.content_type = self.content_type or body_type or None
        async for first in bodies:
            if first:
                self._chunks, self._has_bytes = _after(first, bodies), True
                return True
        return described  # an empty file is one; nothing at all is none

    def _check_content_type(self) -> None:
        content_type = self.content_type
        if content_type is None:
            return
        if len(content_type) > MAX_CONTENT_TYPE_LENGTH or not _CONTENT_TYPE.fullmatch(content_type):
            raise invalid("content_type", "it is no media type")


class StreamedUpload(StreamedBytes):
    """An Upload (see core.backend) that is read from a stream of requests."""

    def __init__(self, first: CreateContainerFileRequest) -> None:
        super().__init__(first)
        self.container_id = first.container_id
        self.file_path = first.file_path if first.HasField("file_path") else None
        self.file_id = first.file_id if first.HasField("file_id") else None

    async def read(self, bodies: AsyncIterator[bytes], *, body_type: str) -> None:
        """Read `bodies`, of the media type `body_type`, up to the file's first byte."""
        if self.content_type is None and _media_type(body_type) == "application/json":
            has_file = await self._read_json(bodies)
        else:
            has_file = await self._read_body(bodies, body_type=body_type)
        if has_file and self.file_id is not None:
            raise _both()
        if not has_file and self.file_id is None:
            raise missing(FILE)
        self._check_content_type()

    async def _read_json(self, bodies: AsyncIterator[bytes]) -> bool:
        for name, value in _json_object(await _gather(bodies)).items():
            if not isinstance(value, str):
                message = f"Invalid '{name[:64]}': expected a string."
                raise InvalidRequestError(message, param=name[:64], code="invalid_type")
            self._take(name, value)
        return False

    async def _read_bytes(self, bodies: AsyncIterator[bytes], body_type: str) -> bool:
        has_file = await super()._read_bytes(bodies, body_type)
        return has_file and (self.file_id is None or self._has_bytes)

    def _take(self, name: str, value: str) -> None:
        """Set a field that stands in the body. InvalidRequestError if it was given otherwise before."""
        if name == "provider":
            self.provider = same(name, self.provider or None, provider_named(value))
        elif name == "file_id":
            self.file_id = same(name, self.file_id, value)
        elif name == "file_path":
            self.file_path = same(name, self.file_path, value)
        else:
            raise InvalidRequestError(f"Unknown parameter: '{name[:64]}'.", param=name[:64], code="unknown_parameter")

    def _take_late(self, name: str, value: str) -> None:
        """Set a field that stands behind the file: too late for all that decides where the file goes to."""
        if name == "file_id":
            raise _both()
        if name == "provider":
            raise invalid(name, "it must stand before the file")
        self._take(name, value)


async def open_upload(requests: AsyncIterator[CreateContainerFileRequest]) -> StreamedUpload:
    """Return the upload that `requests` carry. InvalidRequestError for a body that is none."""
    first = await anext(requests, None)
    if first is None:
        raise missing(FILE)
    upload = StreamedUpload(first)
    await upload.read(bodies_of(first, requests), body_type=first.body.content_type)
    return upload


async def bodies_of(first: R, rest: AsyncIterator[R]) -> AsyncIterator[bytes]:
    """Yield the bytes that requests carry. InvalidRequestError for what only the first could have said."""
    said = {field.name: value for field, value in first.ListFields()}
    yield first.body.data
    async for request in rest:
        for field, value in request.ListFields():
            if field.name != "body" and value != said.get(field.name):
                raise invalid(field.name, "it must stand in the first message")
        yield request.body.data


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    no_chunks: tuple[bytes, ...] = ()
    for chunk in no_chunks:
        yield chunk


async def _gather(bodies: AsyncIterator[bytes]) -> bytes:
    gathered = bytearray()
    async for body in bodies:
        gathered += body
        check_length(len(gathered), "body", maximum=MAX_JSON_BYTES, what="string", unit="length in bytes")
    return bytes(gathered)


def _json_object(text: bytes) -> dict[str, object]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"Invalid JSON body: {error}.", param="body", code="invalid_json") from error
    if not isinstance(value, dict):
        raise InvalidRequestError("Invalid JSON body: expected an object.", param="body", code="invalid_type")
    return value


def _both() -> InvalidRequestError:
    message = "Give either a file or a file_id, not both."
    return InvalidRequestError(message, param="file_id", code="mutually_exclusive_parameters")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def provider_named(name: str) -> Provider:
    """Return the provider of a short name. InvalidRequestError if there is none."""
    if name not in PROVIDERS:
        raise invalid("provider", f"there is no provider '{name[:64]}'")
    return PROVIDERS[name]


def same(name: str, before: T | None, given: T) -> T:
    """Return what is given for a field. InvalidRequestError if it was given before, and otherwise."""
    if before not in (None, given):
        raise invalid(name, "it is given twice, with different values")
    return given
