"""Where a call comes from, and which header is believed."""

import pytest

from berth.rpc.peer import source_of


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "source"),
    [
        ("ipv4:10.0.0.7:4711", None, "10.0.0.7"),
        ("ipv4:10.0.0.7:4711", "1.2.3.4", "10.0.0.7"),
        ("ipv6:[2001:db8::1]:4711", "1.2.3.4", "2001:db8::1"),
        ("ipv6:%5B2001:db8::1%5D:4711", None, "2001:db8::1"),
        ("ipv4:127.0.0.1:4711", None, "127.0.0.1"),
        ("ipv4:127.0.0.1:4711", "1.2.3.4", "1.2.3.4"),
        ("ipv4:127.0.0.1:4711", "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("ipv6:%5B::1%5D:4711", "1.2.3.4", "1.2.3.4"),
        ("ipv4:127.0.0.1:4711", ", ", "127.0.0.1"),
        ("unix:/tmp/x", "1.2.3.4", "1.2.3.4"),
        ("unix:", None, "unix"),
        ("", None, "unknown"),
    ],
)
def test_the_nearest_address_that_can_be_believed(peer: str, forwarded_for: str | None, source: str) -> None:
    """A header counts only from this machine, where Envoy is, and of it only what Envoy itself has seen."""
    assert source_of(peer, forwarded_for) == source
