"""Which limits a call is held to."""

import pytest

from berth.adapters.memory.limits import MemoryLimits
from berth.core.auth.rate_limits import Gate, Quota
from berth.core.caller import Caller, Limits
from berth.core.errors import RateLimitError

ONE = Limits(requests_per_minute=1)


async def passed(gate: Gate, caller: Caller, kind: str = "read") -> bool:
    try:
        async with gate.passing(caller, kind, tell=lambda _: None):
            return True
    except RateLimitError:
        return False


@pytest.mark.parametrize(
    "other",
    [
        Caller("t", "b", limits=ONE),
        Caller("u", "a", limits=ONE),
        Caller("t/a", "", limits=ONE),
        Caller("", "t/a", limits=ONE),
        Caller("t", 'a", "read', limits=ONE),
    ],
)
async def test_no_two_keys_share_a_limit(other: Caller) -> None:
    """Whatever is in the names of tenants and keys, and also where one has a limit for a kind of operations."""
    gate, first = Gate(MemoryLimits()), Caller("t", "a", limits=Limits(1, operations={"read": ONE}))
    assert [await passed(gate, caller) for caller in (first, other, first, other)] == [True, True, False, False]


async def test_a_refused_call_is_not_in_flight() -> None:
    """A call that is over its requests gives its place in flight back."""
    gate, caller = Gate(MemoryLimits()), Caller("t", "a", limits=Limits(1, 1))
    assert [await passed(gate, caller) for _ in range(3)] == [True, False, False]
    with pytest.raises(RateLimitError) as caught:
        async with gate.passing(caller, "read", tell=lambda _: None):
            pass
    assert caught.value.code == "rate_limited"


async def test_the_tightest_limit_is_told() -> None:
    """Of a limit for all and one for the kind the one with less left is what headers say."""
    told: list[Quota] = []
    caller = Caller("t", "a", limits=Limits(10, operations={"write": Limits(3)}))
    gate = Gate(MemoryLimits())
    for kind in ("write", "read"):
        async with gate.passing(caller, kind, tell=told.append):
            pass
    assert [(quota.limit, quota.remaining) for quota in told] == [(3, 2), (10, 8)]
