"""An upload as a multipart form, made while its bytes arrive: nothing of it is kept."""

import secrets
from asyncio import Timeout, get_running_loop
from collections.abc import AsyncIterator, Callable, Mapping

from berth.core.backend import Upload
from berth.core.file_backend import FileUpload
from berth.core.paths import clean_filename

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""How a field's name stands in quotes (WHATWG HTML): a caller's own may have any character."""
_DEFAULT_CONTENT_TYPE = "application/octet-stream"


class UploadForm:
    """The body of one upload; InvalidRequestError, at once, for a file's name that cannot be.

    `fields` returns those beside the file, as far as they are known by now.
    `failure` is what went wrong with the upload itself while it was sent, and
    `is_sent` says that all of it was. Bytes can be read only once, so a form is
    sent again only where nothing of it was.
    """

    def __init__(self, upload: Upload | FileUpload, fields: Callable[[], Mapping[str, str]]) -> None:
        self._upload = upload
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
        return {"file": file, **self._fields()}

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
        for name, value in early.items():
            yield self._field(name, value)
        yield self._head(f'name="file"; filename="{_escaped(self._filename)}"', self._content_type)
        async for chunk in self._upload.chunks():
            yield chunk
        yield b"\r\n"
        for name, value in self._fields().items():
            if early.get(name) != value:
                yield self._field(name, value)
        yield f"--{self._boundary}--\r\n".encode()

    def _field(self, name: str, value: str) -> bytes:
        return self._head(f'name="{name.translate(_ESCAPES)}"') + value.encode() + b"\r\n"

    def _head(self, disposition: str, content_type: str | None = None) -> bytes:
        kind = f"\r\nContent-Type: {content_type}" if content_type else ""
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}{kind}\r\n\r\n".encode()


def _escaped(name: str) -> str:
    """Return a file's name as it stands in quotes (RFC 2183); it has no line ends (see clean_filename)."""
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _nothing() -> None:
    pass
