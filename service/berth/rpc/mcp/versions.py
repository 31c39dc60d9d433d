"""The versions of MCP: which there are, and what the one without a handshake wants to see in a request."""

from collections.abc import Mapping

from berth.core.validation import shown
from berth.rpc.mcp import headers
from berth.rpc.mcp.messages import HEADER_MISMATCH, INVALID_PARAMS, UNSUPPORTED_VERSION, Message, RpcError

HANDSHAKE = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
"""The versions that `initialize` agrees on, oldest first."""
STATELESS = "2026-07-28"
"""The version in which each request says what it is, in headers and in `_meta`."""
SUPPORTED = (*HANDSHAKE, STATELESS)
ASSUMED = "2025-03-26"
"""The version of a request that does not name one (MCP 2025-06-18, "Protocol Version Header")."""
WITH_BATCHES = frozenset({"2024-11-05", ASSUMED})
_META = "io.modelcontextprotocol/"
PROTOCOL_VERSION, CAPABILITIES = f"{_META}protocolVersion", f"{_META}clientCapabilities"
SERVER_INFO = f"{_META}serverInfo"


def version_of(given: Mapping[str, str]) -> str:
    """Return the version that the headers `given` name. RpcError (UNSUPPORTED_VERSION) for an unknown one."""
    version = given.get(headers.VERSION, ASSUMED)
    if version not in SUPPORTED:
        data = {"supported": list(SUPPORTED), "requested": shown(version)}
        raise RpcError(UNSUPPORTED_VERSION, "Unsupported protocol version", data)
    return version


def agreed(requested: object) -> str:
    """Return the version that `initialize` answers with: the `requested` one, or the newest."""
    return requested if isinstance(requested, str) and requested in HANDSHAKE else HANDSHAKE[-1]


def check_envelope(message: Message, given: Mapping[str, str]) -> None:
    """Check that a request of the version STATELESS describes itself, in `_meta` and in the headers `given`.

    RpcError (INVALID_PARAMS) if something is missing in `_meta`, HEADER_MISMATCH if a header says something else.
    """
    meta = message.params.get("_meta")
    missing = [key for key in (PROTOCOL_VERSION, CAPABILITIES) if not isinstance(meta, dict) or key not in meta]
    if missing or not isinstance(meta, dict):
        raise RpcError(INVALID_PARAMS, f"params._meta is missing {' and '.join(missing)}.")
    expected = {headers.VERSION: meta[PROTOCOL_VERSION], headers.METHOD: message.method}
    if message.method == "tools/call":
        expected[headers.NAME] = message.params.get("name")
    for name, value in expected.items():
        if given.get(name) != value:
            raise RpcError(HEADER_MISMATCH, f"The header {name} differs from what the message says.")
