"""Writes: bounded memory, and never too late a moment."""

from berth.core.caching.write_tracker import Writes, place_of
from support.fakes.stores import FixedClock

PLACES = [place_of("ours", f"cntr_{number}") for number in range(5)]


def write(writes: Writes, number: int, *, is_settled: bool = True) -> None:
    writes.begin(PLACES[number])
    writes.end(PLACES[number], is_settled=is_settled)


def test_a_container_may_change_until_its_write_has_ended() -> None:
    """There is no last moment while a write runs; behind it there is the moment of its end."""
    writes = Writes(FixedClock())
    assert (writes.moment, writes.last(PLACES[0])) == (0, 0)
    writes.begin(PLACES[0])
    assert (writes.last(PLACES[0]), writes.last(PLACES[1])) == (None, 0)
    writes.end(PLACES[0], is_settled=True)
    assert (writes.moment, writes.last(PLACES[0]), writes.last(PLACES[1])) == (1, 1, 0)


def test_a_container_may_change_until_its_last_write_has_ended() -> None:
    """Of two writes at the same time the end of one is not the end of both."""
    writes = Writes(FixedClock())
    writes.begin(PLACES[0])
    write(writes, 0)
    assert writes.last(PLACES[0]) is None
    writes.end(PLACES[0], is_settled=True)
    assert writes.last(PLACES[0]) == writes.moment == 2


def test_what_was_forgotten_counts_as_written_when_the_last_of_them_was() -> None:
    """Beyond so many containers the oldest is forgotten: answers from before are void, later ones are not."""
    writes = Writes(FixedClock(), max_remembered=2)
    for number in (0, 1, 2):
        write(writes, number)
    assert [writes.last(place) for place in PLACES] == [1, 2, 3, 1, 1]
    write(writes, 1)
    write(writes, 3)
    assert [writes.last(place) for place in PLACES] == [3, 4, 3, 5, 3]


def test_doubts_are_bounded_too() -> None:
    """Those that have settled are forgotten first, and then the oldest."""
    clock = FixedClock()
    writes = Writes(clock, max_remembered=2)
    write(writes, 0, is_settled=False)
    clock.advance(60)
    for number in (1, 2, 1):
        write(writes, number, is_settled=False)
    assert [writes.last(place) is None for place in PLACES] == [False, True, True, False, False]
    write(writes, 3, is_settled=False)
    assert [writes.last(place) is None for place in PLACES] == [False, True, False, True, False]
    assert len(writes._settled_at) == 2
