"""Domains: the hosts that a network policy names."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

WILDCARD = "*."
MAX_NAME_LENGTH = 253
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}", re.ASCII)
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
"""A last label that makes resolvers read the whole as an address, such as 127.1, 0177.0.0.1 or 0x7f000001."""


def plain_domain(domain: str) -> str | None:
    """Return a domain in ASCII as hosts are compared with it: a host, or `*.` and a name; None if it is neither."""
    wildcard = WILDCARD if domain.startswith(WILDCARD) else ""
    plain = plain_host(domain.removeprefix(wildcard))
    return None if plain is None or (wildcard and read_address(plain)) else wildcard + plain


def plain_host(text: str) -> str | None:
    """Return a host as it is compared: a name in lower case without a dot at its end, or an address.

    None if it is neither, or a name that resolvers read as an address.
    """
    address = read_address(text.removeprefix("[").removesuffix("]"))
    if address is not None:
        return str(address)
    name = text.lower().removesuffix(".")
    is_name = len(name) <= MAX_NAME_LENGTH and _NAME.fullmatch(name)
    return name if is_name and not _NUMBER.fullmatch(name.rpartition(".")[2]) else None


def read_address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the IP address that a text is, None if it is none or names an interface."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None
