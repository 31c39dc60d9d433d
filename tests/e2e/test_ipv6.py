"""`[::]` as the address to listen on: IPv4 is served there, too, unless `listen.ipv6_only` is set."""

import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from berth.launch.ipv4 import refuse_ipv4
from support.clients.polling import health_of
from support.servers.process import BerthProcess, running_berth

PORTS = ("rest", "grpc", "metrics")
SERVING = 1
EVERYWHERE = {
    "BERTH_LISTEN__REST": "[::]:0",
    "BERTH_LISTEN__GRPC": "[::]:0",
    "BERTH_LISTEN__METRICS": "[::]:0",
    "BERTH_LISTEN__ALLOW_PLAINTEXT": "true",
}
HOSTS = ("127.0.0.1", "[::1]")


def has_ipv6() -> bool:
    """Return whether this machine has a loopback address of IPv6."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


def port(berth: BerthProcess, kind: str) -> int:
    address = berth.ready[kind]
    return urlsplit(address if "://" in address else f"//{address}").port or 0


def require_both_families(berth: BerthProcess) -> None:
    """Assert that each port answers over IPv4 and over IPv6."""
    for host in HOSTS:
        url = f"http://{host}:{port(berth, 'rest')}/v1/containers"
        assert httpx2.get(url, headers=berth.authorization(), timeout=30).status_code == 200
        assert health_of(f"{host}:{port(berth, 'grpc')}") == SERVING
        assert httpx2.get(f"http://{host}:{port(berth, 'metrics')}/metrics", timeout=30).status_code == 200


def test_every_address_includes_ipv4(tmp_path: Path) -> None:
    """All three ports answer over both families, and they still do after a replacement, on the same ports."""
    with running_berth("up", tmp_path / "data", environ=EVERYWHERE) as berth:
        require_both_families(berth)
        with running_berth("up", tmp_path / "data", "--replace", environ=EVERYWHERE) as successor:
            assert successor.ready == berth.ready
            assert berth.end() == 0
            require_both_families(successor)


def test_ipv6_only_keeps_ipv4_away(tmp_path: Path) -> None:
    """No port answers over IPv4; all answer over IPv6."""
    environ = {**EVERYWHERE, "BERTH_LISTEN__IPV6_ONLY": "true"}
    with running_berth("up", tmp_path / "data", environ=environ) as berth:
        for kind in PORTS:
            socket.create_connection(("::1", port(berth, kind)), timeout=5).close()
            with pytest.raises(OSError, match=r"refused|timed out"):
                socket.create_connection(("127.0.0.1", port(berth, kind)), timeout=0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="the filter is one of Linux")
def test_a_filter_concerns_one_port() -> None:
    """Other listeners of the process go on to accept IPv4."""
    with (
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as filtered,
        socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as other,
    ):
        refuse_ipv4(filtered.getsockname()[1])
        socket.create_connection(("127.0.0.1", other.getsockname()[1]), timeout=5).close()
        socket.create_connection(("::1", filtered.getsockname()[1]), timeout=5).close()
        with pytest.raises(TimeoutError):
            socket.create_connection(("127.0.0.1", filtered.getsockname()[1]), timeout=0.3)
