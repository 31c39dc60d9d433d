"""Floods of rejected calls in the log."""

from itertools import chain, repeat

from berth.rpc.interceptors.sampling import LogSampler


def test_a_flood_is_sampled_and_counted() -> None:
    """So many lines a second are written; the next one says how many were left out."""
    times = iter(chain(repeat(5.0, 10), repeat(6.0, 1)))
    sampler = LogSampler(3, lambda: next(times))
    assert [sampler.next_line() for _ in range(11)] == [{}, {}, {}, *[None] * 7, {"suppressed": 7}]
