"""Read bodies of CreateContainerFile, and what they have in common with those of CreateFile.

A body is a form (multipart/form-data), a JSON object or the file itself, depending on the content
type of the first message. Bytes are read as they arrive: up to the file when the upload is opened,
and the file while it is stored.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from google.protobuf.struct_pb2 import Value

from berth.core.errors import InvalidRequestError
from berth.core.providers import parse_provider
from berth.core.validation import invalid, is_media_type, missing, require_same
from berth.rpc.bodies.forms import FILE, Form
from berth.rpc.bodies.json_bodies import is_json, read_json
from berth.rpc.bodies.json_fields import fill
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.provider_pb2 import Provider

_JSON_FIELDS = frozenset({"file_id", "file_path", "provider"})
_HINT = "To store a JSON document as a file, send it in a form, or with ?content_type=application/json."

T = TypeVar("T")
R = TypeVar("R", CreateContainerFileRequest, CreateFileRequest)


class StreamedBytes(ABC):
    """The common part of uploads that are read from a stream of requests: the file, its name and its type."""

    def __init__(self, first: CreateContainerFileRequest | CreateFileRequest) -> None:
        self.provider: Provider = first.provider
        self.filename = first.filename if first.HasField("filename") else None
        self.content_type = first.content_type or None
        self.additional_fields = list(first.additional_fields)
        self._chunks: AsyncIterator[bytes] = _nothing()
        self._has_bytes = False
        self._describes_bytes = bool(self.filename or self.content_type)

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the bytes of the file."""
        return self._chunks

    async def _read_body(self, bodies: AsyncIterator[bytes], *, body_type: str) -> bool:
        """Read `bodies`, of the media type `body_type`, up to the first byte of the file.

        Return False if there is no file.
        """
        if self.content_type is None and _media_type(body_type) == "multipart/form-data":
            return await self._read_form(Form(body_type, bodies, take=self._take, take_late=self._take_late))
        return await self._read_bytes(bodies, body_type)

    @abstractmethod
    def _take(self, name: str, value: str) -> None:
        """Set a field that precedes the file."""

    @abstractmethod
    def _take_late(self, name: str, value: str) -> None:
        """Set a field that follows the file."""

    def _take_additional(self, name: str, value: str) -> None:
        """Add a form field that the contract does not know to the additional fields."""
        self.additional_fields.append(AdditionalField(path=[name], value=Value(string_value=value)))

    async def _read_form(self, form: Form) -> bool:
        has_file = await form.find_file()
        self._chunks = form.file()
        self.filename = require_same("filename", self.filename, form.filename or self.filename)
        self.content_type = form.content_type
        return has_file

    async def _read_bytes(self, bodies: AsyncIterator[bytes], body_type: str) -> bool:
        described = bool(self.filename or self.content_type or body_type)
        self.content_type = self.content_type or body_type or None
        async for first in bodies:
            if first:
                self._chunks, self._has_bytes = _after(first, bodies), True
                return True
        return described  # an empty body is a file if something describes it

    def _check_content_type(self) -> None:
        if self.content_type is not None and not is_media_type(self.content_type):
            raise invalid("content_type", "it is not a media type")


class StreamedUpload(StreamedBytes):
    """An Upload (see core.ports.backend) that is read from a stream of requests."""

    def __init__(self, first: CreateContainerFileRequest, *, max_json_bytes: int, is_judged: bool) -> None:
        super().__init__(first)
        self._max_json_bytes = max_json_bytes
        self._is_judged = is_judged
        self.has_file = self.replaces = False
        self.container_id = first.container_id
        self.file_path = first.file_path if first.HasField("file_path") else None
        self.file_id = first.file_id if first.HasField("file_id") else None

    async def read(self, bodies: AsyncIterator[bytes], *, body_type: str) -> None:
        """Read `bodies`, of the media type `body_type`, up to the first byte of the file."""
        if self.content_type is None and is_json(body_type):
            has_file = await self._read_json(bodies, body_type)
        else:
            has_file = await self._read_body(bodies, body_type=body_type)
        self.has_file = has_file
        if not self._is_judged:
            self._check_source()
        self._check_content_type()

    def _check_source(self) -> None:
        """Raise InvalidRequestError unless there is either a file or the id of one."""
        if self.has_file and self.file_id is not None:
            raise _mutually_exclusive("file")
        if not self.has_file and self.file_id is None:
            raise missing(FILE)
        if not self.has_file and self._describes_bytes:
            raise _mutually_exclusive("filename" if self.filename else "content_type")

    async def _read_json(self, bodies: AsyncIterator[bytes], body_type: str) -> bool:
        with _with_file_hint():
            request = CreateContainerFileRequest()
            fill(request, await read_json(body_type, bodies, maximum=self._max_json_bytes), names=_JSON_FIELDS)
            if request.provider:
                self.provider = require_same("provider", self.provider or None, request.provider)
            for name in ("file_id", "file_path"):
                if request.HasField(name):
                    self._take(name, getattr(request, name))
            self.additional_fields += request.additional_fields
            if self.file_id is None and not self._is_judged:
                raise missing(FILE)
        return False

    async def _read_bytes(self, bodies: AsyncIterator[bytes], body_type: str) -> bool:
        has_file = await super()._read_bytes(bodies, body_type)
        return has_file and (self.file_id is None or self._has_bytes)

    def _take(self, name: str, value: str) -> None:
        """Set a field of the body. InvalidRequestError if it already has a different value."""
        if name == "provider":
            self.provider = require_same(name, self.provider or None, parse_provider(value))
        elif name == "file_id":
            self.file_id = require_same(name, self.file_id, value)
        elif name == "file_path":
            self.file_path = require_same(name, self.file_path, value)
        else:
            self._take_additional(name, value)

    def _take_late(self, name: str, value: str) -> None:
        """Set a field that follows the file. InvalidRequestError for a provider (too late) or a file_id."""
        if name == "file_id" and not self._is_judged:
            raise _mutually_exclusive("file")
        if name == "provider":
            raise invalid(name, "it must come before the file")
        self._take(name, value)


async def open_upload(
    requests: AsyncIterator[CreateContainerFileRequest],
    *,
    max_json_bytes: int,
    is_judged: Callable[[], bool] = lambda: False,
) -> StreamedUpload:
    """Return the upload that `requests` carry. InvalidRequestError for an invalid body.

    If a provider judges it (`is_judged`), a file and the id of one may come together, or neither of them.
    """
    first = await anext(requests, None)
    if first is None:
        raise missing(FILE)
    upload = StreamedUpload(first, max_json_bytes=max_json_bytes, is_judged=is_judged())
    await upload.read(bodies_of(first, requests), body_type=first.body.content_type)
    return upload


async def bodies_of(first: R, rest: AsyncIterator[R]) -> AsyncIterator[bytes]:
    """Yield the bytes of all requests. InvalidRequestError if a later one sets a field differently than the first."""
    given = {field.name: value for field, value in first.ListFields()}
    yield first.body.data
    async for request in rest:
        for field, value in request.ListFields():
            if field.name != "body" and value != given.get(field.name):
                raise invalid(field.name, "it must be set in the first message")
        yield request.body.data


async def _after(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    no_chunks: tuple[bytes, ...] = ()
    for chunk in no_chunks:
        yield chunk


@contextmanager
def _with_file_hint() -> Iterator[None]:
    """Add a hint on storing a JSON document as a file to errors of a JSON body, and set their parameter."""
    try:
        yield
    except InvalidRequestError as error:
        error.message = f"{error.message} {_HINT}"
        error.param = error.param or "body"
        raise


def _mutually_exclusive(other: str) -> InvalidRequestError:
    message = f"Give either a {other} or a file_id, not both."
    return InvalidRequestError(message, param="file_id", code="mutually_exclusive_parameters")


def _media_type(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()
