"""The headers of a download."""

import re
from urllib.parse import quote

from berth.core.backend import Content

_NOT_PLAIN = re.compile(r'[^\x20-\x7e]|["\\%]')


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
