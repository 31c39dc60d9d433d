"""What a server sends of a file: its name, its size, and its bytes, which are checked on the way."""

import hashlib
from collections.abc import Iterator, Mapping
from warnings import catch_warnings, simplefilter

from aiohttp import (
    BadContentDispositionHeader,
    BadContentDispositionParam,
    content_disposition_filename,
    parse_content_disposition,
)

from berth.client.errors import ClientError


class Download:
    """A file on its way. `size` and `sha256` are None where the server does not tell them."""

    def __init__(self, headers: Mapping[str, str], pieces: Iterator[bytes]) -> None:
        self.filename = _filename(headers.get("content-disposition"))
        length = headers.get("x-content-length", "")
        self.size = int(length) if length.isascii() and length.isdigit() else None
        self.sha256 = headers.get("x-content-sha256") or None
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes. ClientError at their end if they are not those that the server speaks of."""
        digest, count = hashlib.sha256(), 0
        for piece in self._pieces:
            digest.update(piece)
            count += len(piece)
            yield piece
        if self.size is not None and count != self.size:
            raise ClientError(f"the download is damaged: {count} bytes came of {self.size}")
        if self.sha256 is not None and digest.hexdigest() != self.sha256:
            raise ClientError("the download is damaged: its SHA-256 is not the one that the server tells")


def _filename(disposition: str | None) -> str | None:
    """Return the name in the header, the exact one where it is given twice; None if there is none."""
    with catch_warnings():  # aiohttp warns of a header that it cannot read
        simplefilter("ignore", BadContentDispositionHeader)
        simplefilter("ignore", BadContentDispositionParam)
        _, told = parse_content_disposition(disposition)
    return content_disposition_filename(told)
