"""Read the head of a request: its path, its metadata and its deadline."""

import re
from base64 import b64decode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

CONTENT_TYPE = "application/grpc"
_TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_BINARY = "-bin"


class HeadError(Exception):
    """A request that is not one of gRPC; `status` is the answer."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


@dataclass(slots=True)
class Request:
    """The head of a request; `timeout_seconds` is None without a deadline."""

    path: str
    metadata: Sequence[tuple[str, str | bytes]]
    timeout_seconds: float | None
    encoding: str


def read_head(method: bytes, version: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Request:
    """Return the request of a head. HeadError if it is not one of gRPC."""
    if version != "1.1":
        raise HeadError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED)
    if method != b"POST":
        raise HeadError(HTTPStatus.METHOD_NOT_ALLOWED)
    content_type, timeout, encoding = "", None, "identity"
    metadata: list[tuple[str, str | bytes]] = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), _text(raw_value)
        if name == "content-type":
            content_type = value
        elif name == "grpc-timeout":
            timeout = _seconds(value)
        elif name == "grpc-encoding":
            encoding = value
        elif name.endswith(_BINARY):
            metadata += [(name, part) for part in _bytes(value)]
        else:
            metadata.append((name, value))
    if not content_type.startswith(CONTENT_TYPE):
        raise HeadError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    return Request(target.decode("latin-1"), metadata, timeout, encoding)


def _text(value: bytes) -> str:
    """Return the text of a value: UTF-8, which grpc also assumes, or one character for each byte."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _seconds(timeout: str) -> float | None:
    """Return a timeout in the notation of gRPC; None if it is malformed."""
    found = _TIMEOUT.fullmatch(timeout)
    return int(found[1]) * _UNITS[found[2]] if found else None


def _bytes(value: str) -> list[bytes]:
    """Return binary values, which may be joined with commas. HeadError if one is malformed."""
    parts = [part.strip().rstrip("=") for part in value.split(",")]
    try:
        return [b64decode(part + "=" * (-len(part) % 4), validate=True) for part in parts]
    except ValueError:
        raise HeadError(HTTPStatus.BAD_REQUEST) from None
