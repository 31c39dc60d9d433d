"""A download: its headers, and its bytes."""

import re
from urllib.parse import quote

from google.api.httpbody_pb2 import HttpBody

from berth.core.backend import Content
from berth.rpc.call import Call

_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')


async def send_content(content: Content, call: Call) -> None:
    """Write the bytes of a file, the first message with their type, also when there are none.

    The first bytes are awaited before anything is sent: what goes wrong with
    them can still be an error like any other.
    """
    try:
        call.provider = content.provider
        first = await anext(content.chunks, b"")
        await call.send_headers(content_headers(content))
        await call.write(HttpBody(content_type=content.content_type))
        if first:
            await call.write(HttpBody(data=first))
        async for chunk in content.chunks:
            await call.write(HttpBody(data=chunk))
    finally:
        content.close()


def content_headers(content: Content) -> list[tuple[str, str]]:
    """Return what describes the bytes that follow, besides their type."""
    headers = [
        ("content-disposition", content_disposition(content.filename)),
        # The type is the uploader's word; no browser may see more in it.
        ("x-content-type-options", "nosniff"),
    ]
    if content.length is not None:
        headers.append(("x-content-length", str(content.length)))
    if content.sha256 is not None:
        headers += [("etag", f'"{content.sha256}"'), ("x-content-sha256", content.sha256)]
    return headers


def content_disposition(filename: str) -> str:
    """Return the header that saves a download under `filename` (RFC 6266).

    A name that is not plain ASCII is given twice: readable by everything, with
    underscores, and exactly, in the notation of RFC 8187.
    """
    plain = _NOT_PLAIN.sub("_", filename)
    header = f'attachment; filename="{plain}"'
    return header if plain == filename else f"{header}; filename*=UTF-8''{quote(filename, safe='')}"
