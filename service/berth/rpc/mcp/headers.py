"""Read the headers of MCP, and check that no page of another site sends the request."""

from collections.abc import Collection, Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from berth.core.errors import PermissionDeniedError
from berth.core.validation import shown

VERSION, METHOD, NAME = "mcp-protocol-version", "mcp-method", "mcp-name"
ORIGIN, HOST = "origin", "x-berth-host"
"""Where a browser's page is from, and the host that the request is sent to, which Envoy adds."""
HEADERS = frozenset({VERSION, METHOD, NAME, ORIGIN, HOST})
_ANY = "*"


def check_origin(headers: Mapping[str, str], allowed: Collection[str]) -> None:
    """Raise PermissionDeniedError (`origin_not_allowed`) for a browser's page that is not one of `allowed`.

    A page of Berth's own host is allowed on loopback only: elsewhere, pages of a name that is made to lead to this host
    would look like own ones (DNS rebinding).
    """
    origin = headers.get(ORIGIN)
    if origin is None or origin in allowed or _ANY in allowed or _is_own(origin, headers.get(HOST, "")):
        return
    message = f"Pages of the origin '{shown(origin)}' may not use MCP; cors.origins allows them."
    raise PermissionDeniedError(message, code="origin_not_allowed")


def _is_own(origin: str, host: str) -> bool:
    """Return whether `origin` is the loopback address `host`."""
    try:
        parts = urlsplit(origin)
        name = parts.hostname or ""
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() == host.lower() and _is_loopback(name)


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
