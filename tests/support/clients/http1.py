"""One request over HTTP/1.1 by hand, for what HTTP's own clients do not send, and a look at what uploads left."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import urlsplit


class Answer(NamedTuple):
    """What came back: a status of 0 if nothing did."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body as JSON."""
        return cast("dict[str, Any]", json.loads(self.body))

    def is_refusal(self) -> bool:
        """Tell whether it is a 4xx in the one envelope."""
        is_envelope = set(self.json()) == {"error", "is_bifrost_error", "status_code", "extra_fields"}
        return 400 <= self.status < 500 and is_envelope and self.json()["status_code"] == self.status


async def exchange(url: str, pieces: Sequence[bytes], *, is_whole: bool = True) -> Answer:
    """Send a request in pieces over a connection of its own, half-closed if it is not whole; return the answer."""
    where = urlsplit(url)
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        with closing(writer):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            if not is_whole:
                writer.write_eof()
            return await _answer(reader)


async def _answer(reader: asyncio.StreamReader) -> Answer:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, b"")
    _, _, length = head.partition(b"\r\ncontent-length: ")
    body = await (reader.readexactly(int(length.split()[0])) if length else _chunks(reader))
    return Answer(int(head.split()[1]), body)


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    return body


def is_tidy(data: Path) -> bool:
    """Tell whether the blobs in a data folder are exactly those that rows speak of, and no upload is half-way."""
    with closing(sqlite3.connect(data / "berth.db")) as rows:
        referred = rows.execute("SELECT blob FROM files UNION SELECT blob FROM tenant_files").fetchall()
    blobs = data / "blobs"
    there = {str(path.relative_to(blobs)) for path in blobs.rglob("*") if path.is_file()}
    return there == {blob for (blob,) in referred}
