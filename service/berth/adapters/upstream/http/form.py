"""UploadForm: encodes an upload as a multipart form while it arrives, without buffering it."""

import re
import secrets
from asyncio import Timeout, get_running_loop
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from urllib.parse import quote

from berth.core.paths import clean_filename
from berth.core.ports.backend import BeforeCommit, Upload, nothing
from berth.core.ports.file_backend import FileUpload

_LOOKS_ESCAPED = re.compile(r"%(22|0D|0A)|^=\?.*\?=$", re.IGNORECASE)
"""Matches names that some parsers would unescape: browser escapes (WHATWG HTML) and encoded words (RFC 2047)."""
_DEFAULT_CONTENT_TYPE = "application/octet-stream"


class UploadForm:
    """The body of one upload; the constructor raises InvalidRequestError for an invalid filename.

    `fields` returns the other fields of the form that have arrived so far;
    `before_commit` is awaited before the form is completed.
    `failure` is the error of the upload itself, if it failed while it was sent;
    `is_sent` is whether the whole form was sent. An upload can be read only once,
    so a form is sent again only if nothing of it was sent.
    """

    def __init__(
        self,
        upload: Upload | FileUpload,
        fields: Callable[[], Sequence[tuple[str, str]]],
        *,
        before_commit: BeforeCommit = nothing,
    ) -> None:
        self._upload = upload
        self._before_commit = before_commit
        self._fields = fields
        self._filename = clean_filename(upload.filename)
        self._content_type = upload.content_type or _DEFAULT_CONTENT_TYPE
        self._boundary = f"berth-{secrets.token_hex(16)}"
        self._await_caller: Callable[[], None] = _nothing
        self._await_provider: Callable[[], None] = _nothing
        self.failure: BaseException | None = None
        self.is_sent = False

    @property
    def content_type(self) -> str:
        """The media type of the form."""
        return f"multipart/form-data; boundary={self._boundary}"

    def describe(self) -> dict[str, object]:
        """Return the form as it may be shown: without the bytes of the file."""
        file = {"filename": self._filename, "content_type": self._content_type}
        given: dict[str, list[str]] = {}
        for name, value in self._fields():
            given.setdefault(name, []).append(value)
        return {"file": file, **{name: values if len(values) > 1 else values[0] for name, values in given.items()}}

    def limit_waits(self, timeout: Timeout, *, seconds: float) -> None:
        """Limit each wait for the provider to `seconds`; pause `timeout` while waiting for the caller."""
        clock = get_running_loop().time
        self._await_caller = lambda: timeout.reschedule(None)
        self._await_provider = lambda: timeout.reschedule(clock() + seconds)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the form as the upload arrives; an error of the upload is raised and stored in `failure`."""
        try:
            async for part in self._parts():
                self._await_provider()
                yield part
                self._await_caller()
            self._await_provider()
            self.is_sent = True
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    async def _parts(self) -> AsyncIterator[bytes]:
        """Yield the parts of the form. Fields that the caller sends after the file are sent on after the file."""
        early = self._fields()
        for name, value in early:
            yield self._field(name, value)
        yield self._head(f'name="file"; {_filename_option(self._filename)}', self._content_type)
        async for chunk in self._upload.chunks():
            yield chunk
        await self._before_commit()
        yield b"\r\n"
        for name, value in (Counter(self._fields()) - Counter(early)).elements():
            yield self._field(name, value)
        yield f"--{self._boundary}--\r\n".encode()

    def _field(self, name: str, value: str) -> bytes:
        return self._head(f'name="{_escaped(name)}"') + value.encode() + b"\r\n"

    def _head(self, disposition: str, content_type: str | None = None) -> bytes:
        kind = f"\r\nContent-Type: {content_type}" if content_type else ""
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}{kind}\r\n\r\n".encode()


def _filename_option(filename: str) -> str:
    """Return the `filename` option; add an unambiguous `filename*` if some parsers would unescape the name."""
    option = f'filename="{_escaped(filename)}"'
    return f"{option}; filename*=UTF-8''{quote(filename, safe='')}" if _LOOKS_ESCAPED.search(filename) else option


def _escaped(name: str) -> str:
    """Return a name escaped for a quoted string (RFC 2183); names have no control characters, so no line breaks."""
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _nothing() -> None:
    pass
