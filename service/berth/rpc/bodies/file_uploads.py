"""Read bodies of CreateFile: a form (multipart/form-data) or the file itself; see `uploads`."""

from collections.abc import AsyncIterator

from berth.core.errors import InvalidRequestError
from berth.core.providers import parse_provider
from berth.core.validation import check_integer, invalid, missing, require_same
from berth.rpc.bodies.forms import FILE
from berth.rpc.bodies.uploads import StreamedBytes, bodies_of
from berth.v1.file_pb2 import FileExpiresAfter
from berth.v1.file_service_pb2 import CreateFileRequest

ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
_MAX_DIGITS = 10


class StreamedFile(StreamedBytes):
    """A FileUpload (see core.ports.file_backend) that is read from a stream of requests."""

    def __init__(self, first: CreateFileRequest) -> None:
        super().__init__(first)
        self.purpose = first.purpose if first.HasField("purpose") else None
        self.expires_after = first.expires_after if first.HasField("expires_after") else None

    async def read(self, bodies: AsyncIterator[bytes], *, body_type: str) -> None:
        """Read `bodies`, of the media type `body_type`, up to the first byte of the file."""
        if not await self._read_body(bodies, body_type=body_type):
            raise missing(FILE)
        self._check_content_type()

    def _take(self, name: str, value: str) -> None:
        """Set a field of the form. InvalidRequestError if it already has a different value."""
        if name == "provider":
            self.provider = require_same(name, self.provider or None, parse_provider(value))
        elif name == "purpose":
            self.purpose = require_same(name, self.purpose, value)
        elif name == ANCHOR:
            self._expiry().anchor = require_same("expires_after.anchor", self._expiry().anchor or None, value)
        elif name == SECONDS:
            seconds = _seconds("expires_after.seconds", value)
            self._expiry().seconds = require_same("expires_after.seconds", self._expiry().seconds or None, seconds)
        else:
            self._take_additional(name, value)

    def _take_late(self, name: str, value: str) -> None:
        """Set a field that follows the file. InvalidRequestError if it changes where the file is stored."""
        if name == "provider" and parse_provider(value) != self.provider:
            raise invalid(name, "it must come before the file")
        self._take(name, value)

    def _expiry(self) -> FileExpiresAfter:
        if self.expires_after is None:
            self.expires_after = FileExpiresAfter()
        return self.expires_after


async def open_file_upload(requests: AsyncIterator[CreateFileRequest]) -> StreamedFile:
    """Return the upload that `requests` carry. InvalidRequestError for an invalid body."""
    first = await anext(requests, None)
    if first is None:
        raise missing(FILE)
    upload = StreamedFile(first)
    await upload.read(bodies_of(first, requests), body_type=first.body.content_type)
    return upload


def _seconds(param: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise InvalidRequestError(f"Invalid '{param}': expected a whole number.", param=param, code="invalid_type")
    # In a message, 0 could not be distinguished from an absent value.
    return check_integer(int(text), param, minimum=1, maximum=10**_MAX_DIGITS)
