"""Judge a client certificate: whether it has a valid path to an authority now, and until when."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtensionOID

from berth.rpc.tls.check import ClientCertificate, Trusted, Verdict

MAX_CHAIN = 8
"""How many certificates of a client's chain are read; further ones are ignored."""
EXPIRED = "it has expired, or is not valid yet"
REVOKED = "it was revoked"
UNTRUSTED = "its authority is not trusted"
UNLISTED = "its authority has no current revocation list"
UNREADABLE = "it cannot be read"
REFUSED_AGAIN = timedelta(seconds=5)
"""How long a certificate stays refused before it is looked at again: lists can be long."""
_FOREVER = datetime.max.replace(tzinfo=UTC)


class _InvalidError(Exception):
    """The reason why a certificate is not valid."""


def judge(certificate: ClientCertificate, trusted: Trusted | None, now: datetime) -> Verdict:
    """Return whether the certificate is valid, and until when that holds."""
    try:
        leaf, *others = x509.load_pem_x509_certificates(certificate.chain)[:MAX_CHAIN]
        return Verdict(_valid_until(leaf, others, trusted, now), None)
    except ValueError:
        reason = UNREADABLE
    except _InvalidError as invalid:
        reason = str(invalid)
    return Verdict(now + REFUSED_AGAIN, reason)


def _valid_until(
    certificate: x509.Certificate, others: list[x509.Certificate], trusted: Trusted | None, now: datetime
) -> datetime:
    """Return until when `certificate` has a valid path to an authority, by way of `others`.

    The handshake has verified everything else, such as constraints. `others` is emptied on the way, so
    that each certificate is tried once. Raises _InvalidError if there is no path.
    """
    until = certificate.not_valid_after_utc
    if not certificate.not_valid_before_utc <= now <= until:
        raise _InvalidError(EXPIRED)
    if trusted is None or certificate in trusted.authorities:
        return until
    problem = _InvalidError(UNTRUSTED)
    for issuer in (*trusted.authorities, *others):
        if not _is_issued_by(certificate, issuer, trusted):
            continue
        if issuer in others:
            others.remove(issuer)
        try:
            listed = _unrevoked_until(certificate, issuer, trusted.revocation_lists, now)
            return min(until, listed, _valid_until(issuer, others, trusted, now))
        except _InvalidError as invalid:
            problem = invalid
    raise problem


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate, trusted: Trusted) -> bool:
    if certificate.issuer != issuer.subject or not (issuer in trusted.authorities or _is_authority(issuer)):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False


def _unrevoked_until(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    revocation_lists: Sequence[x509.CertificateRevocationList] | None,
    now: datetime,
) -> datetime:
    """Return until when the lists of `issuer` say that `certificate` is not revoked; raises _InvalidError."""
    if revocation_lists is None:
        return _FOREVER
    lists = [one for one in revocation_lists if one.issuer == issuer.subject and _is_signed_by(one, issuer)]
    if any(one.get_revoked_certificate_by_serial_number(certificate.serial_number) for one in lists):
        raise _InvalidError(REVOKED)
    current = [one for one in lists if one.last_update_utc <= now and not _is_delta(one)]
    until = max((one.next_update_utc or _FOREVER for one in current), default=now)
    if until <= now:
        raise _InvalidError(UNLISTED)
    return until


def _is_delta(revocation_list: x509.CertificateRevocationList) -> bool:
    """Return whether a list contains only what has changed since another one."""
    try:
        return any(one.oid == ExtensionOID.DELTA_CRL_INDICATOR for one in revocation_list.extensions)
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return False


def _is_signed_by(revocation_list: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return revocation_list.is_signature_valid(issuer.public_key())  # type: ignore[arg-type] # TypeError if unfit
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
