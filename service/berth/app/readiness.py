"""Checks whether calls can be served, and reports the result as the overall health of the service."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from structlog.typing import FilteringBoundLogger

from berth.core.errors import StorageError
from berth.launch.address import Address
from berth.rpc.server import LOG, Server

CHECK_SECONDS = 2.0
"""Time between two checks."""
ANSWER_SECONDS = 5.0
"""How long the store and Envoy may take to answer."""
CACHE_SECONDS = 1.0
"""How long the result of checks is used: anybody may ask for it, as often as they like."""
Check = Callable[[], Awaitable[object]]
STORE, CONTENT, LISTENER = "store", "content", "listener"
_IN_WORDS = {STORE: "the store", CONTENT: "the blob store", LISTENER: "Envoy"}

_FRAME_HEADER_BYTES = 9
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
"""The preface of HTTP/2 and an empty SETTINGS frame. A server answers with its own settings, and logs no request."""


class Readiness:
    """Runs checks when it is asked for their results, at most once a second, however many ask."""

    def __init__(self) -> None:
        self._checks: Mapping[str, Check] = {}
        self._is_listening = False
        self._ended_at = 0.0
        self._checking: asyncio.Task[dict[str, bool]] | None = None

    def begin(self, checks: Mapping[str, Check]) -> None:
        """Run `checks` from now on, by their names. Before that, the listener is not ready."""
        self._checks = checks
        self._is_listening = True
        self._checking = None

    def resign(self) -> None:
        """Report from now on that the listener is not ready, because the service stops."""
        self._is_listening = False

    async def results(self) -> dict[str, bool]:
        """Return what is ready, by name."""
        results = await self.check()
        return results | {LISTENER: self._is_listening and results.get(LISTENER, True)}

    async def check(self) -> dict[str, bool]:
        """Return which checks pass."""
        checking = self._checking
        if checking is None or (checking.done() and time.monotonic() - self._ended_at >= CACHE_SECONDS):
            self._checking = checking = asyncio.create_task(self._check())
        return await asyncio.shield(checking)

    async def _check(self) -> dict[str, bool]:
        try:
            results = await asyncio.gather(*(_passes(check) for check in self._checks.values()))
        finally:
            self._ended_at = time.monotonic()
        return dict(zip(self._checks, results, strict=True))


async def watch_readiness(server: Server, readiness: Readiness, log: FilteringBoundLogger) -> None:
    """Check the readiness periodically until cancelled, and report NOT_SERVING while a check fails."""
    failed: list[str] = []
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        results = await readiness.check()
        previous, failed = failed, [_IN_WORDS[name] for name, passes in results.items() if not passes]
        if failed == previous:
            continue
        await server.report(is_serving=not failed)
        if failed:
            log.error("health.not_serving", reason=f"no answer from {' and '.join(failed)}")
        else:
            log.info("health.serving")


async def watch_log(server: Server, is_available: Callable[[], bool]) -> None:
    """Report the health of the log, periodically until cancelled; the overall health does not depend on it."""
    was_available = True
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        if is_available() != was_available:
            was_available = not was_available
            await server.report(is_serving=was_available, service=LOG)


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
