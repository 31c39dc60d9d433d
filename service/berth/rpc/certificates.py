"""Read the names in client certificates: DNS names and URIs, typed, from the certificate itself."""

import re
from functools import lru_cache

from cryptography import x509

MAX_CERTIFICATES = 1024
"""How many certificates are cached with their names: a client shows the same one on every call."""
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\x00-\x20\x7f-\uffff\";,]+")
_DNS = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")


@lru_cache(MAX_CERTIFICATES)
def names_in(pem: bytes) -> tuple[str, ...]:
    """Return the alternative names in a certificate; none for one that cannot be read.

    Names of other types, such as email addresses, and those with characters that
    no DNS name or URI has are left out. A DNS name is never equal to a URI.
    """
    try:
        extension = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return ()
    names = extension.value
    uris = (name for name in names.get_values_for_type(x509.UniformResourceIdentifier) if is_uri(name))
    return (*uris, *(name for name in names.get_values_for_type(x509.DNSName) if _DNS.fullmatch(name)))


def is_uri(text: str) -> bool:
    """Return whether `text` is a URI with an authority, without characters that separate names in headers."""
    return _URI.fullmatch(text) is not None
