"""The server's TLS certificate and key, and the authorities and revocation lists for client certificates.

The files are checked for changes every second. Renewed files are used from the next handshake on, without a restart. If
they are invalid, the previous ones stay in use, and an error is logged.
"""

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from structlog.typing import FilteringBoundLogger

from berth.launch.pem import read_certificates, read_key, read_pem, require_pair
from berth.launch.refusal import StartError

CHECK_SECONDS = 1.0
Stamp = tuple[tuple[int, int, int], ...]
_REVOCATION_LIST = re.compile(rb"-----BEGIN X509 CRL-----[^-]+-----END X509 CRL-----")


class Pem(NamedTuple):
    """The content of the files; `client_ca` is None if client certificates are not requested.

    `authorities` are the certificates in it. `revocation_lists` is None if revocation is not checked.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    authorities: tuple[x509.Certificate, ...] = ()
    revocation_lists: tuple[x509.CertificateRevocationList, ...] | None = None


class Files(NamedTuple):
    """The paths of the files."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    client_crl: Path | None = None


class Certificates:
    """The certificate files and `current`, the content that is in use.

    The constructor raises StartError, naming the setting, if the files cannot be used.
    """

    def __init__(self, files: Files, *, log: FilteringBoundLogger) -> None:
        self._files = files
        self._log = log
        self._overdue: set[x509.CertificateRevocationList] = set()
        self._stamp = self._current_stamp()
        self.current = self._read()
        self._report_overdue()

    async def watch(self, changed: Callable[[Pem], None]) -> None:
        """Check the files periodically until cancelled, and call `changed` with renewed content."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if await asyncio.to_thread(self.refresh):  # the disk may be slow
                changed(self.current)
            self._report_overdue()

    def refresh(self) -> bool:
        """Reload the files if they have changed and are valid; return whether the content is new."""
        stamp = self._current_stamp()
        if stamp == self._stamp:
            return False
        try:
            renewed = self._read()
        except StartError as error:
            self._stamp = stamp
            self._log.error("tls.reload_failed", reason=str(error))
            return False
        if self._current_stamp() != stamp:
            return False  # replaced while they were read: they may not belong together
        self._stamp = stamp
        is_new, self.current = renewed != self.current, renewed
        if is_new:
            self._log.info("tls.reloaded", certificate=str(self._files.certificate))
        return is_new

    def _read(self) -> Pem:
        certificate, key, client_ca, client_crl = self._files
        authorities = read_certificates(client_ca, "tls.client_ca") if client_ca else None
        pem = Pem(
            read_certificates(certificate, "tls.certificate"),
            read_key(key),
            authorities,
            _authorities(authorities, client_ca),
            _revocation_lists(read_pem(client_crl, "tls.client_crl"), client_crl) if client_crl else None,
        )
        require_pair(certificate, key)
        return pem

    def _current_stamp(self) -> Stamp:
        """Return a value that changes when a file, or the target of a link to it, changes."""
        return tuple(_stamp(path) for path in self._files if path)

    def _report_overdue(self) -> None:
        """Log each revocation list once that is not current any more."""
        for overdue in set(filter(_is_overdue, self.current.revocation_lists or ())) - self._overdue:
            self._overdue.add(overdue)
            self._log.error("tls.crl_overdue", issuer=overdue.issuer.rfc4514_string())


def _authorities(pem: bytes | None, path: Path | None) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificates(pem)) if pem is not None else ()
    except ValueError as error:
        raise StartError(f"tls.client_ca: {path} holds no certificates in PEM") from error


def _revocation_lists(pem: bytes, path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    try:
        lists = tuple(x509.load_pem_x509_crl(one) for one in _REVOCATION_LIST.findall(pem))
    except ValueError as error:
        raise StartError(f"tls.client_crl: {path} has a list that cannot be read: {error}") from error
    if not lists:
        raise StartError(f"tls.client_crl: {path} holds no revocation lists in PEM")
    return lists


def _is_overdue(revocation_list: x509.CertificateRevocationList) -> bool:
    next_update = revocation_list.next_update_utc
    return next_update is not None and next_update < datetime.now(UTC)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_ino, status.st_mtime_ns, status.st_size)
