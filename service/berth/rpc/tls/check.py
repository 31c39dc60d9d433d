"""Check whether a client certificate is still valid, on every call and not only when its connection began.

A handshake verifies a certificate once, but its connection may last longer than the certificate, than
its authority is trusted, or than it takes until it is revoked. TLS sessions that are resumed are not
verified again, either.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, Protocol

from berth.core.errors import AuthenticationError
from berth.rpc.tls.names import MAX_CERTIFICATES

if TYPE_CHECKING:
    from cryptography import x509


class Trusted(Protocol):
    """What client certificates are checked against."""

    @property
    def authorities(self) -> "Sequence[x509.Certificate]":
        """The trusted authorities."""

    @property
    def revocation_lists(self) -> "Sequence[x509.CertificateRevocationList] | None":
        """The revocation lists of authorities; None if revocation is not checked."""


class ClientCertificate(NamedTuple):
    """The certificate of a caller.

    `chain` is PEM: the certificate itself, then those of intermediate authorities as far as the client
    sent them. It is empty if an Envoy forwards only names, which count for nothing. With `is_foreign`, a
    sidecar has verified the certificate, with authorities that are not known here.
    """

    chain: bytes
    names: Sequence[str]
    is_foreign: bool = False


class Verdict(NamedTuple):
    """Until when a result holds, and why the certificate is not valid; None if it is."""

    until: datetime
    reason: str | None


class CertificateCheck:
    """Checks client certificates against what `trusted` returns at the time of a call.

    The result is cached for each chain until the first of its certificates or lists expires, or until
    `trusted` returns another object.
    """

    def __init__(self, trusted: Callable[[], Trusted | None], now: Callable[[], datetime]) -> None:
        self._trusted = trusted
        self._now = now
        self._used: Trusted | None = None
        self._verdicts: dict[tuple[bytes, bool], Verdict] = {}

    def require_valid(self, certificate: ClientCertificate) -> None:
        """Raise AuthenticationError (`certificate_not_valid`) if the certificate is not valid any more."""
        if certificate.is_foreign and not certificate.chain:
            return  # A caller in a mesh may have a key.
        trusted, now = self._trusted(), self._now()
        if trusted is not self._used or len(self._verdicts) >= MAX_CERTIFICATES:
            self._verdicts.clear()
            self._used = trusted
        key = (certificate.chain, certificate.is_foreign)
        verdict = self._verdicts.get(key)
        if verdict is None or verdict.until < now:
            from berth.rpc.tls.validity import judge  # noqa: PLC0415 - cryptography takes 7 MiB; see app/service.py

            verdict = self._verdicts[key] = judge(certificate, None if certificate.is_foreign else trusted, now)
        if verdict.reason is not None:
            message = f"the client certificate is not valid any more: {verdict.reason}."
            raise AuthenticationError(message, code="certificate_not_valid")
