"""A file that is downloaded from a server: its name, its size and its bytes, which are verified."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from warnings import catch_warnings, simplefilter

from berth.client.errors import ClientError

_SIZE = re.compile(r"\d{1,18}", re.ASCII)


class Download:
    """A download in progress.

    `filename`, `size` (bytes) and `sha256` (hexadecimal) are None if the server does not send them.
    """

    def __init__(self, headers: Mapping[str, str], pieces: Iterator[bytes]) -> None:
        self.filename = _filename(headers.get("content-disposition"))
        length = headers.get("x-content-length", "")
        self.size = int(length) if _SIZE.fullmatch(length) else None
        self.sha256 = headers.get("x-content-sha256") or None
        self._pieces = pieces

    def pieces(self) -> Iterator[bytes]:
        """Yield the bytes; raise ClientError at the end if their size or SHA-256 differs from the server's."""
        digest, count = hashlib.sha256(), 0
        for piece in self._pieces:
            digest.update(piece)
            count += len(piece)
            yield piece
        if self.size is not None and count != self.size:
            raise ClientError(f"the download is damaged: {count} of {self.size} bytes were received")
        if self.sha256 is not None and digest.hexdigest() != self.sha256:
            raise ClientError("the download is damaged: its SHA-256 differs from the one that the server sent")


def _filename(disposition: str | None) -> str | None:
    """Return the file name in the header, None if there is none; `filename*` takes precedence over `filename`."""
    from aiohttp import (  # noqa: PLC0415 - loading it takes longer than most commands run, and only downloads need it
        BadContentDispositionHeader,
        BadContentDispositionParam,
        content_disposition_filename,
        parse_content_disposition,
    )

    with catch_warnings():  # aiohttp warns about a header that it cannot parse
        simplefilter("ignore", BadContentDispositionHeader)
        simplefilter("ignore", BadContentDispositionParam)
        _, parameters = parse_content_disposition(disposition)
    return content_disposition_filename(parameters)
