"""Reads the PEM files of settings, and says of which setting, and why, if one cannot be used."""

import ssl
from pathlib import Path

from berth.launch.refusal import StartError
from berth.launch.trusted_files import read_regular

_UTF_8_MARK = b"\xef\xbb\xbf"
_UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MISMATCH = {"KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"}


def read_certificates(path: Path, setting: str) -> bytes:
    """Return the text of a file with certificates; raise StartError, naming `setting`, if it has none."""
    content = read_pem(path, setting)
    if b"-----BEGIN CERTIFICATE-----" not in content:
        raise StartError(f"{setting}: {path} holds no certificates in PEM")
    return content


def read_authorities(path: Path, setting: str) -> str:
    """Return the text of a file with trusted authorities; raise StartError, naming `setting`, if it has none."""
    text = read_certificates(path, setting).decode().encode("ascii", "replace").decode()  # comments, in any encoding
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except ssl.SSLError as error:
        raise StartError(f"{setting}: cannot use {path}: {error.reason or 'it is damaged'}") from error
    return text


def read_key(path: Path) -> bytes:
    """Return the text of a file with a private key; raise StartError if it has none, or needs a password."""
    content = read_pem(path, "tls.key")
    if b" PRIVATE KEY-----" not in content and b"-----BEGIN PRIVATE KEY-----" not in content:
        raise StartError(f"tls.key: {path} holds no private key in PEM")
    if b"-----BEGIN ENCRYPTED PRIVATE KEY-----" in content or b"Proc-Type: 4,ENCRYPTED" in content:
        raise StartError(f"tls.key: {path} needs a password, which is not supported; store the key without one")
    return content


def require_pair(certificate: Path, key: Path) -> None:
    """Raise StartError, naming the setting, if the files are no certificate chain and its key."""
    try:
        _load(certificate, key)
    except ssl.SSLError as error:
        if error.reason in _MISMATCH:
            raise StartError(f"tls.key: cannot use {key} with {certificate}: it belongs to another one") from error
        setting, path = ("tls.key", key) if _is_certificate(certificate) else ("tls.certificate", certificate)
        raise StartError(f"{setting}: cannot use {path}: {error.reason or 'it is damaged'}") from error
    except (OSError, ValueError) as error:
        raise StartError(f"tls.key: cannot use {key} with {certificate}") from error


def read_pem(path: Path, setting: str) -> bytes:
    """Return the text of a file; raise StartError, naming `setting`, if it cannot be read or is no plain text."""
    try:
        content = read_regular(path)
    except OSError as error:
        raise StartError(f"{setting}: cannot read {path}: {error.strerror}") from error
    if _UTF_8_MARK in content or content.startswith(_UTF_16_MARKS):
        raise StartError(f"{setting}: {path} has a byte order mark; store it as plain text, without one")
    # Text around the blocks may be in any encoding. What reads it later expects UTF-8.
    return content.decode("utf-8", "replace").encode()


def _load(certificate: Path, key: Path) -> None:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=_no_password)


def _is_certificate(path: Path) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cafile=path)
    except (OSError, ValueError):
        return False
    return True


def _no_password() -> str:
    raise ValueError("keys with a password are not supported")
