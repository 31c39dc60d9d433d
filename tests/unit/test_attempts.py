"""Failed attempts: who waits, how long, and who does not."""

import asyncio

import pytest

from berth.core.auth.login_throttle import (
    MAX_SOURCES,
    MAX_WAIT_SECONDS,
    MAX_WAITING,
    MAX_WAITING_IN_ALL,
    WINDOW_SECONDS,
    LoginThrottle,
)
from berth.core.auth.sources import network_of
from berth.core.errors import RateLimitError
from support.fakes.stores import FixedClock
from support.servers.service import eventually


class Waits:
    """A sleep that notes how long it was asked for, and ends at once, or once it is let go."""

    def __init__(self, *, held: bool = False) -> None:
        self.seconds: list[float] = []
        self.go = asyncio.Event()
        if not held:
            self.go.set()

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)
        await self.go.wait()


async def test_each_further_refusal_takes_longer() -> None:
    """The free ones are answered at once; then the wait grows, up to its bound."""
    waits = Waits()
    attempts = LoginThrottle(free=3, timer=FixedClock(), sleep=waits)
    for _ in range(3):
        await attempts.refused("1.2.3.4")
    assert waits.seconds == []
    for _ in range(100):
        await attempts.refused("1.2.3.4")
    assert waits.seconds[:2] == [0.05, 0.1]
    assert waits.seconds == sorted(waits.seconds)
    assert waits.seconds[-1] == MAX_WAIT_SECONDS == 2.0


async def test_other_sources_do_not_wait() -> None:
    """What one address does costs another nothing, and is forgotten after a minute."""
    waits, timer = Waits(), FixedClock()
    attempts = LoginThrottle(free=1, timer=timer, sleep=waits)
    await attempts.refused("1.2.3.4")
    await attempts.refused("5.6.7.8")
    timer.advance(WINDOW_SECONDS)
    await attempts.refused("1.2.3.4")
    assert waits.seconds == []
    await attempts.refused("1.2.3.4")
    assert waits.seconds == [0.05]


async def test_few_may_wait_at_a_time() -> None:
    """Refusals that wait are bounded for each source: one more is told when to come back."""
    waits = Waits(held=True)
    attempts = LoginThrottle(free=0, timer=FixedClock(), sleep=waits)
    waiting = [asyncio.create_task(attempts.refused("1.2.3.4")) for _ in range(MAX_WAITING)]
    await eventually(lambda: len(waits.seconds) == MAX_WAITING)
    with pytest.raises(RateLimitError) as caught:
        await attempts.refused("1.2.3.4")
    assert (caught.value.code, caught.value.retry_after_seconds) == ("rate_limited", WINDOW_SECONDS)
    waits.go.set()
    await asyncio.gather(*waiting)
    await attempts.refused("1.2.3.4")
    assert len(waits.seconds) == MAX_WAITING + 1 == 21


async def test_few_of_all_sources_may_wait_at_a_time() -> None:
    """Of 65 refusals of 65 addresses one does not wait, since callers with a credential need places, too."""
    waits = Waits(held=True)
    attempts = LoginThrottle(free=0, timer=FixedClock(), sleep=waits)
    waiting = [asyncio.create_task(attempts.refused(f"1.2.3.{last}")) for last in range(MAX_WAITING_IN_ALL)]
    await eventually(lambda: len(waits.seconds) == MAX_WAITING_IN_ALL)
    with pytest.raises(RateLimitError):
        await attempts.refused("5.6.7.8")
    waits.go.set()
    await asyncio.gather(*waiting)
    await attempts.refused("5.6.7.8")
    assert len(waits.seconds) == MAX_WAITING_IN_ALL + 1 == 65


async def test_sources_are_forgotten_when_there_are_many() -> None:
    """Memory is bounded, however many addresses there are."""
    attempts = LoginThrottle(free=1, timer=FixedClock(), sleep=Waits())
    for number in range(MAX_SOURCES + 10):
        await attempts.refused(f"address {number}")
    assert len(attempts._counts) == MAX_SOURCES


async def test_a_public_ipv6_network_is_one_source() -> None:
    """Who has one can use any of its addresses; machines of private networks are sources of their own."""
    waits = Waits()
    attempts = LoginThrottle(free=2, timer=FixedClock(), sleep=waits)
    for host in ("2606:4700::1", "2606:4700::2:2", "2606:4700:0:1::1", "fd00::1", "fd00::2", "fd00::3"):
        await attempts.refused(host)
    assert waits.seconds == []
    await attempts.refused("2606:4700::ffff:3")
    assert waits.seconds == [0.05]


@pytest.mark.parametrize(
    ("source", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("64:ff9b::c000:201", "192.0.2.1"),
        ("64:ff9b:1::c000:201", "192.0.2.1"),
        ("2002:c000:201:1::1", "192.0.2.1"),
        ("2002:c000:201:2::2", "192.0.2.1"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdfe", "192.0.2.1"),
        ("2001:db8:1:2::3", "2001:db8:1:2::/64"),
        ("3fff:1::1", "3fff:1::/64"),
        ("2606:4700:1:2:3:4:5:6", "2606:4700:1:2::/64"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("fd00::1", "fd00::1"),
        ("::1", "::1"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_what_counts_as_one_address(source: str, network: str) -> None:
    """It is an address, but a whole network of public IPv6; a text that is none stays as it is."""
    assert network_of(source) == network
