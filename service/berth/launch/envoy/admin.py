"""A client for the admin interface of a running Envoy, which listens on a Unix socket."""

import errno
import json
import socket
from asyncio import to_thread
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from berth.launch.private_folder import short_path

TIMEOUT_SECONDS = 5.0
PING_SECONDS = 2.5
COUNT_SECONDS = 1.0
_REFUSALS = {
    "requests": ("upstream_rq_active_overflow", "upstream_rq_pending_overflow"),
    "connections": ("downstream_global_cx_overflow", "downstream_cx_overload_reject"),
    "memory": ("downstream_rq_overload_close",),
}
"""The ends of the names of Envoy's counters of what it refuses by itself. Each refusal is in one of them."""


class EnvoyAdmin:
    """The admin interface on the Unix socket `path`. Methods raise OSError if Envoy does not answer."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def is_live(self) -> bool:
        """Return whether Envoy is ready: it has loaded its configuration and accepts connections."""
        try:
            status, _ = await self._ask("GET", "/ready")
        except OSError:
            return False
        return status == HTTPStatus.OK

    async def answers(self) -> bool:
        """Return whether Envoy answers within PING_SECONDS, ready or not.

        True as well if this process cannot ask, because it has too many files open: Envoy is not to blame.
        """
        try:
            await self._ask("GET", "/ready", PING_SECONDS)
        except OSError as error:
            return error.errno in {errno.EMFILE, errno.ENFILE}
        return True

    async def listening_port(self, listener: str) -> int:
        """Return the port of the listener with this name."""
        _, body = await self._ask("GET", "/listeners?format=json")
        ports = {
            status["name"]: status["local_address"]["socket_address"]["port_value"]
            for status in json.loads(body)["listener_statuses"]
        }
        return int(ports[listener])

    async def start_draining(self) -> None:
        """Stop accepting connections, and ask clients to close existing ones after their next response."""
        # The first request makes Envoy ask clients to close connections; the second closes its port immediately
        # instead of after a delay.
        await self._ask("POST", "/drain_listeners?graceful&skip_exit")
        await self._ask("POST", "/drain_listeners")

    async def active_requests(self) -> int:
        """Return the number of running requests, without those to the admin interface."""
        return await self._sum("downstream_rq_active")

    async def connections(self) -> int:
        """Return the number of open connections, without those to the admin interface."""
        return await self._sum("downstream_cx_active")

    def refusals(self) -> dict[str, int]:
        """Return how much Envoy itself has refused because of a limit, by the limit; waits at most COUNT_SECONDS."""
        names = "|".join(name for names in _REFUSALS.values() for name in names)
        _, body = self._ask_now("GET", f"/stats?format=json&filter=\\.({names})$", COUNT_SECONDS)
        counts = {stat["name"]: int(stat["value"]) for stat in json.loads(body)["stats"] if "value" in stat}
        return {
            limit: sum(count for name, count in counts.items() if name.endswith(ends) and ".admin." not in name)
            for limit, ends in _REFUSALS.items()
        }

    async def _sum(self, name: str) -> int:
        _, body = await self._ask("GET", f"/stats?format=json&filter=^http\\..*{name}$")
        stats = json.loads(body)["stats"]
        return sum(int(stat.get("value", 0)) for stat in stats if not stat.get("name", "").startswith("http.admin."))

    async def _ask(self, method: str, path: str, timeout_seconds: float = TIMEOUT_SECONDS) -> tuple[int, bytes]:
        return await to_thread(self._ask_now, method, path, timeout_seconds)

    def _ask_now(self, method: str, path: str, timeout_seconds: float) -> tuple[int, bytes]:
        connection = _SocketConnection(self._path, timeout_seconds)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        except HTTPException as error:
            raise OSError(f"unexpected answer from Envoy's admin interface: {error!r}") from error
        finally:
            connection.close()


class _SocketConnection(HTTPConnection):
    """HTTP over the Unix socket `path`."""

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path
        self._timeout_seconds = timeout_seconds

    def connect(self) -> None:
        """Connect to the socket; http.client calls this."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._timeout_seconds)
        with short_path(self._path) as path:
            self.sock.connect(path)
