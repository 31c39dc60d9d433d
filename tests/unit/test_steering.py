"""Which of two sockets on a port gets new connections."""

import socket
import sys
from contextlib import ExitStack

import pytest

from berth.launch.address import Address
from berth.launch.steering import steered_here

CONNECTIONS = 50

pytestmark = pytest.mark.skipif(
    sys.platform != "linux",
    reason="steering connections between two listeners needs Linux; elsewhere berth up --replace does without",
)


def accepted(server: socket.socket) -> int:
    """Return how many connections wait at `server`, and accept them."""
    server.setblocking(False)
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


@pytest.mark.parametrize(
    ("family", "host", "listens"),
    [
        (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
        (socket.AF_INET6, "::", "::"),
    ],
)
async def test_new_connections_go_to_the_second_socket(family: socket.AddressFamily, host: str, listens: str) -> None:
    """While connections are steered, the first socket gets none; afterwards the second one gets them alone."""
    dual = family == socket.AF_INET6
    with socket.create_server((host, 0), family=family, reuse_port=True, dualstack_ipv6=dual) as first:
        port = first.getsockname()[1]
        with socket.create_server((host, port), family=family, reuse_port=True, dualstack_ipv6=dual) as second:
            async with steered_here([Address(listens, port)]):
                for _ in range(CONNECTIONS):
                    socket.create_connection(("127.0.0.1", port)).close()
                assert (accepted(first), accepted(second)) == (0, CONNECTIONS)
                first.close()
            for _ in range(CONNECTIONS):
                socket.create_connection(("127.0.0.1", port)).close()
            assert accepted(second) == CONNECTIONS


async def test_a_port_with_one_socket_is_left_alone() -> None:
    """Nothing is steered, and nothing is waited for, if no predecessor listens."""
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as server:
        address = Address("127.0.0.1", server.getsockname()[1])
        async with steered_here([address, Address("::1", 1)]):
            socket.create_connection(address).close()
            assert accepted(server) == 1


@pytest.mark.parametrize(("before", "own"), [(1, 3), (3, 1), (2, 2)])
async def test_new_connections_go_to_the_sockets_of_all_workers(before: int, own: int) -> None:
    """The predecessor and its successor may have different numbers of workers; each of the successor's gets a share."""
    with ExitStack() as stack:
        servers = [stack.enter_context(socket.create_server(("127.0.0.1", 0), reuse_port=True))]
        address = Address("127.0.0.1", servers[0].getsockname()[1])
        servers += [
            stack.enter_context(socket.create_server(address, reuse_port=True)) for _ in range(before + own - 1)
        ]
        async with steered_here([address], workers={address: own}):
            for closed in (None, *servers[:before]):  # while they are closed, one after the other, too
                if closed:
                    closed.close()
                for _ in range(CONNECTIONS):
                    socket.create_connection(address).close()
                shares = [accepted(server) for server in servers if server.fileno() >= 0]
                assert (sum(shares[:-own]), sum(shares[-own:])) == (0, CONNECTIONS)
                assert all(shares[-own:])
