"""A clock that was set is noticed, and believed only after a while."""

import pytest

from berth.core.hosted.steady_clock import SteadyClock
from berth.core.ports.upkeep import SweepClock
from support.fakes.stores import FixedClock

HOUR, DAY = 3600, 86_400
START = 1_700_000_000


class Clocks:
    """A wall clock that can be set, and a monotonic one that cannot."""

    def __init__(self) -> None:
        self.wall, self.monotonic = FixedClock(START), FixedClock(5)
        self.steady = SteadyClock(now=self.wall, monotonic=self.monotonic)

    def pass_(self, seconds: int) -> bool:
        """Let time pass; return whether the clock is steady then."""
        self.wall.advance(seconds)
        self.monotonic.advance(seconds)
        return self.steady.is_steady()


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_first_start_is_steady(clocks: Clocks) -> None:
    """Without an earlier sweep there is nothing to compare the clock with."""
    clocks.steady.start(None)
    assert clocks.pass_(0)
    assert clocks.pass_(30 * DAY)


@pytest.mark.parametrize("jump", [3 * DAY, -3 * DAY, 301, -301])
def test_a_jump_is_not_believed_for_an_hour(clocks: Clocks, jump: int) -> None:
    """After the clock was set it is not steady until it has stayed as it is for an hour."""
    clocks.steady.start(None)
    assert clocks.pass_(600)
    clocks.wall.advance(jump)
    assert not clocks.pass_(600)
    assert not clocks.pass_(HOUR - 601 + 600 - 599)
    assert clocks.pass_(HOUR)


def test_a_jump_there_and_back_starts_the_hour_again(clocks: Clocks) -> None:
    """A clock that is set right again after fifty minutes was wrong all the time, and has to prove itself."""
    clocks.steady.start(None)
    clocks.wall.advance(3 * DAY)
    assert not clocks.pass_(0)
    assert not clocks.pass_(50 * 60)
    clocks.wall.advance(-3 * DAY)
    assert not clocks.pass_(0)
    assert not clocks.pass_(HOUR - 1)
    assert clocks.pass_(1)


def test_small_corrections_are_nothing(clocks: Clocks) -> None:
    """A clock that is corrected by a minute again and again stays steady."""
    clocks.steady.start(None)
    for _ in range(100):
        clocks.wall.advance(60)
        assert clocks.pass_(600)


@pytest.mark.parametrize(
    ("ahead", "is_steady"), [(0, True), (HOUR, True), (HOUR + 1, False), (-300, True), (-301, False)]
)
def test_a_start_is_compared_with_the_last_sweep(clocks: Clocks, ahead: int, *, is_steady: bool) -> None:
    """A clock that is long past the last sweep, or before it, has to stay as it is for an hour first."""
    clocks.steady.start(SweepClock(seen_at=START - ahead, steady_since=0))
    assert clocks.steady.is_steady() == is_steady
    assert clocks.pass_(HOUR)


def test_a_restart_does_not_make_a_clock_steady(clocks: Clocks) -> None:
    """What is left of the hour has to pass after a restart as well."""
    clocks.steady.start(None)
    clocks.wall.advance(3 * DAY)
    assert not clocks.pass_(1800)
    seen = clocks.steady.seen()
    clocks.steady = SteadyClock(now=clocks.wall, monotonic=FixedClock(0))
    clocks.steady._monotonic = clocks.monotonic
    clocks.steady.start(seen)
    assert not clocks.pass_(1799)
    assert clocks.pass_(1801)
