"""Read the names in client certificates: DNS names and URIs, typed, from the certificate itself."""

import re
from functools import lru_cache

MAX_CERTIFICATES = 1024
"""How many certificates are cached with their names: a client shows the same one on every call."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20\x7f-\uffff\";,]+")
_DNS = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


@lru_cache(MAX_CERTIFICATES)
def names_in(pem: bytes) -> tuple[str, ...]:
    """Return the alternative names in the first certificate of `pem`; none for one that cannot be read.

    Names of other types, such as email addresses, and those with characters that
    no DNS name or URI has are left out. A DNS name is never equal to a URI.
    """
    from cryptography import x509  # noqa: PLC0415 - it takes 7 MiB; see app/service.py

    unreadable = (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
    try:
        extension = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except unreadable:
        return ()
    names = extension.value
    uris = (name for name in names.get_values_for_type(x509.UniformResourceIdentifier) if _URI.fullmatch(name))
    return (*uris, *(name for name in names.get_values_for_type(x509.DNSName) if _DNS.fullmatch(name)))
