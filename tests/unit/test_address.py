"""Addresses: which texts are ones, and whether something could listen there."""

import socket

import pytest

from berth.launch.address import Address
from berth.launch.refusal import StartError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),  # noqa: S104 - read, not bound
        ("localhost:80", Address("127.0.0.1", 80)),
        ("[::1]:8080", Address("::1", 8080)),
    ],
)
def test_an_address_is_an_ip_and_a_port(text: str, address: Address) -> None:
    """Both families are read, and localhost is a name for loopback."""
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    "text", ["", ":", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:80", "[::1]", "[x]:1", "a:b"]
)
def test_nothing_else_is(text: str) -> None:
    """A host without a port, a port without a host, and a host name are refused."""
    with pytest.raises(ValueError, match=r".*"):
        Address.parse(text)


@pytest.mark.parametrize("text", ["127.0.0.1:80", "[::1]:80"])
def test_it_is_written_as_it_is_read(text: str) -> None:
    """The text of an address reads as the same address."""
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize(("listens", "call"), [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1")])
def test_who_listens_everywhere_is_called_on_loopback(listens: str, call: str) -> None:
    """The address for every interface is none that can be called."""
    assert str(Address.parse(listens).to_call()) == call


def test_a_port_that_is_taken_is_noticed() -> None:
    """The setting and the address are named while somebody listens there, and nothing is said before or after."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address("127.0.0.1", other.getsockname()[1])
        reason = "Address already in use; set another port, or end the program that uses this one"
        with pytest.raises(StartError, match=rf"^listen\.rest: cannot listen on {address}: {reason}$"):
            address.require_free("listen.rest")
    address.require_free("listen.rest")


def test_a_reserved_port_is_kept_without_a_server() -> None:
    """A reserved port is free for sockets with SO_REUSEPORT only, and no connection is accepted before one listens."""
    with Address("127.0.0.1", 0).reserved("listen.rest") as address:
        assert address.port
        with pytest.raises(StartError, match=rf"^listen\.rest: cannot listen on {address}: "):
            address.require_free("listen.rest")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        with socket.create_server(address, reuse_port=True):
            socket.create_connection(address).close()


def test_every_address_of_ipv6_includes_ipv4() -> None:
    """A port in use over IPv4 is not free for `[::]`, unless that is for IPv6 only."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = Address("::", taken.getsockname()[1])
        with pytest.raises(StartError, match=rf"^listen\.rest: cannot listen on \[::\]:{address.port}: .* in use; "):
            address.require_free("listen.rest")
        address.require_free("listen.rest", ipv6_only=True)
