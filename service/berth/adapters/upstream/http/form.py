"""An upload as a multipart form, made while its bytes arrive: nothing of it is kept."""

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
"""What some read as the escape of another character: those of browsers (WHATWG HTML), and encoded words (RFC 2047)."""
_DEFAULT_CONTENT_TYPE = "application/octet-stream"


class UploadForm:
    """The body of one upload; InvalidRequestError, at once, for a file's name that cannot be.

    `fields` returns those beside the file, as far as they are known by now;
    `before_commit` is awaited before the form is complete.
    `failure` is what went wrong with the upload itself while it was sent, and
    `is_sent` says that all of it was. Bytes can be read only once, so a form is
    sent again only where nothing of it was.
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

    def described(self) -> dict[str, object]:
        """Return what may be shown of the form: all but the bytes."""
        file = {"filename": self._filename, "content_type": self._content_type}
        given: dict[str, list[str]] = {}
        for name, value in self._fields():
            given.setdefault(name, []).append(value)
        return {"file": file, **{name: values if len(values) > 1 else values[0] for name, values in given.items()}}

    def bound(self, timeout: Timeout, *, seconds: float) -> None:
        """Have `timeout` count, up to `seconds`, only while the provider is waited for, and not the caller."""
        clock = get_running_loop().time
        self._await_caller = lambda: timeout.reschedule(None)
        self._await_provider = lambda: timeout.reschedule(clock() + seconds)

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the form as it arrives; what breaks the upload breaks the form, and is kept in `failure`."""
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
        """Yield the parts. What the caller sends behind the file is sent on behind the file."""
        early = self._fields()
        for name, value in early:
            yield self._field(name, value)
        yield self._head(f'name="file"; {_named(self._filename)}', self._content_type)
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


def _named(filename: str) -> str:
    """Return the option with a file's name; twice, the second time beyond doubt, if some would unescape it."""
    option = f'filename="{_escaped(filename)}"'
    return f"{option}; filename*=UTF-8''{quote(filename, safe='')}" if _LOOKS_ESCAPED.search(filename) else option


def _escaped(name: str) -> str:
    """Return a name as it stands in quotes (RFC 2183); it has no control characters, so no line ends."""
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _nothing() -> None:
    pass
