"""The server's TLS certificate and key, and the authorities for client certificates.

The files are checked for changes every second. Renewed files are used from the next handshake on, without a restart. If
they are invalid, the previous ones stay in use, and an error is logged.
"""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.launch.refusal import StartError

CHECK_SECONDS = 1.0
Stamp = tuple[tuple[int, int, int], ...]


class Pem(NamedTuple):
    """The content of the files; `client_ca` is None if client certificates are not requested."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None


class Certificates:
    """The certificate files and `current`, the content that is in use.

    The constructor raises StartError, naming the setting, if the files cannot be used.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None, *, log: FilteringBoundLogger) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._log = log
        self._stamp = self._current_stamp()
        self.current = self._read()

    async def watch(self, changed: Callable[[Pem], None]) -> None:
        """Check the files periodically until cancelled, and call `changed` with renewed content."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if self.refresh():
                changed(self.current)

    def refresh(self) -> bool:
        """Reload the files if they have changed and are valid; return whether the content is new."""
        stamp = self._current_stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            renewed = self._read()
        except StartError as error:
            self._log.error("tls.reload_failed", reason=str(error))
            return False
        is_new, self.current = renewed != self.current, renewed
        if is_new:
            self._log.info("tls.reloaded", certificate=str(self._certificate))
        return is_new

    def _read(self) -> Pem:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        pem = Pem(
            _read_file(self._certificate, "tls.certificate"),
            _read_file(self._key, "tls.key"),
            _read_file(self._client_ca, "tls.client_ca") if self._client_ca else None,
        )
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_password)
        except (OSError, ValueError) as error:
            reason = "they do not match, are not PEM, or need a password"
            raise StartError(f"tls.key: cannot use {self._key} with {self._certificate}: {reason}") from error
        try:
            context.load_verify_locations(cadata=(pem.client_ca or b"").decode("ascii") or None, cafile=self._client_ca)
        except (OSError, ValueError, TypeError) as error:
            if pem.client_ca is not None:
                raise StartError(f"tls.client_ca: {self._client_ca} holds no certificates in PEM") from error
        return pem

    def _current_stamp(self) -> Stamp:
        """Return a value that changes when a file, or the target of a link to it, changes."""
        return tuple(_stamp(path) for path in (self._certificate, self._key, self._client_ca) if path)


def _no_password() -> str:
    raise ValueError("keys with a password are not supported")


def _read_file(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"{setting}: cannot read {path}: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
