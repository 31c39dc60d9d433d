"""Read the client certificate that an Envoy forwards in the header `x-forwarded-client-cert`."""

import re
from urllib.parse import unquote_to_bytes

FORWARDED_CERTIFICATE = "x-forwarded-client-cert"
"""The header in which Envoy describes the client's certificate."""
MAX_FORWARDED_LENGTH = 32_768
"""Room for a chain of certificates, and for the names in the first of them."""
_HASH = "Hash="
"""Envoy writes it once for each hop, before everything that a client can choose."""
_CERTIFICATES = re.compile(r'(?:By=[^;,"]*;)?Hash=[^;,"]*;(?:Cert="([^"]*)";?)?(?:Chain="([^"]*)")?')


def forwarded_chain(header: str) -> bytes:
    """Return the certificates (PEM) in the header, the client's own first; empty if there are none to rely on.

    Envoy writes certificates encoded, right after the hash, and then names as they are: a name can look
    like more names, like certificates, and like what another hop wrote. So only the beginning is read,
    and a header with a second hash, which several hops or a name may have written, has no certificates.
    """
    if len(header) > MAX_FORWARDED_LENGTH or header.count(_HASH) != 1:
        return b""
    found = _CERTIFICATES.match(header)
    return unquote_to_bytes(found[2] or found[1] or "") if found else b""
