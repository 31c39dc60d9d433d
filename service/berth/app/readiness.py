"""Checks whether calls can be served, and reports the result as the overall health of the service."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from berth.core.errors import StorageError
from berth.launch.address import Address
from berth.rpc.server import Server

CHECK_SECONDS = 2.0
"""Time between two checks."""
ANSWER_SECONDS = 5.0
"""How long the store and Envoy may take to answer."""
Check = Callable[[], Awaitable[object]]

_FRAME_HEADER_BYTES = 9
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The preface of HTTP/2 and an empty SETTINGS frame. A server answers with its own settings, and logs no request."""


async def watch_readiness(server: Server, checks: Mapping[str, Check], log: FilteringBoundLogger) -> None:
    """Run `checks` periodically until cancelled, and report NOT_SERVING while one of them fails.

    The name of a check says in the log what does not answer.
    """
    failed: list[str] = []
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        results = await asyncio.gather(*(_passes(check) for check in checks.values()))
        previous, failed = failed, [name for name, passes in zip(checks, results, strict=True) if not passes]
        if failed == previous:
            continue
        await server.report(is_serving=not failed)
        if failed:
            log.error("health.not_serving", reason=f"no answer from {' and '.join(failed)}")
        else:
            log.info("health.serving")


async def _passes(check: Check) -> bool:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            await check()
    except (StorageError, OSError, EOFError):
        return False
    return True


async def probe_listener(address: Address, *, is_encrypted: bool) -> None:
    """Connect to Envoy and wait for its first bytes, without a request.

    The kernel accepts connections for a process that hangs, so a connection alone says nothing. Raises OSError or
    EOFError if there is no answer.
    """
    writer = None
    try:
        reader, writer = await asyncio.open_connection(*address, ssl=_any_certificate() if is_encrypted else None)
        if not is_encrypted:
            writer.write(_HTTP2_HELLO)
            await reader.readexactly(_FRAME_HEADER_BYTES)
    except ssl.SSLError:
        pass  # an answer: it requires a client certificate
    finally:
        if writer is not None:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent
    return context
