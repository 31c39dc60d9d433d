"""Connections to a provider: what each tenant may have of them, and who waits for whom."""

import asyncio

import pytest

from berth.adapters.upstream.shares import Shares


async def is_there(shares: Shares, tenant: str) -> bool:
    """Return whether a tenant can have another connection at once; it then has it."""
    try:
        async with asyncio.timeout(0):
            await shares.take(tenant)
    except TimeoutError:
        return False
    return True


async def go_on(*calls: "asyncio.Task[None]") -> None:
    """Let calls go on until each has ended or waits."""
    await asyncio.wait(calls, timeout=0)


async def most(shares: Shares, tenant: str) -> int:
    """Take all connections that a tenant can have at once; return how many they are."""
    count = 0
    while await is_there(shares, tenant):
        count += 1
    return count


async def test_one_is_always_left_for_some_more_tenants() -> None:
    """Each of those who take what they can gets half of what is left, and the last connection can be used too."""
    shares = Shares(200)
    assert [await most(shares, f"tenant {number}") for number in range(9)] == [100, 50, 25, 13, 6, 3, 2, 1, 0]


async def test_a_single_connection_can_be_used() -> None:
    """With one connection, calls of all tenants follow one another."""
    shares = Shares(1)
    async with shares.connection("a"):
        waiting = asyncio.create_task(shares.take("b"))
        await go_on(waiting)
        assert not waiting.done()
    await waiting
    shares.give("b")
    assert await most(shares, "a") == 1


async def test_who_has_the_fewest_is_first() -> None:
    """A connection that becomes free goes to the waiting tenant who has the fewest, and of one tenant in turn."""
    shares, order = Shares(4), list[str]()

    async def call(tenant: str, name: str) -> None:
        await shares.take(tenant)
        order.append(name)

    assert [await most(shares, "a"), await most(shares, "b"), await most(shares, "c")] == [2, 1, 1]
    calls = [call("a", "a1"), call("b", "b1"), call("d", "d1"), call("d", "d2")]
    tasks = [asyncio.create_task(one) for one in calls]
    await go_on(*tasks)
    for tenant in ("a", "a", "c", "b", "d", "d"):
        shares.give(tenant)
        await go_on(*tasks)
    await asyncio.gather(*tasks)
    assert order == ["d1", "a1", "b1", "d2"]


async def test_tenants_who_have_as_many_take_turns() -> None:
    """Tenants who always have calls that wait keep no connection to themselves: each gets one in turn."""
    shares, order = Shares(2), list[str]()

    async def call(tenant: str) -> None:
        async with shares.connection(tenant):
            order.append(tenant)

    async with shares.connection("x"), shares.connection("y"):
        tasks = [asyncio.create_task(call(tenant)) for tenant in "aaabbbc"]
        await go_on(*tasks)
    await asyncio.gather(*tasks)
    assert order == [*"abcabab"]


@pytest.mark.parametrize("steps", [("leave",), ("leave", "give"), ("give", "leave")])
async def test_who_leaves_takes_nothing_along(steps: tuple[str, ...]) -> None:
    """A call that is cancelled as it waits, also in the moment of its turn, leaves every connection to others."""
    shares = Shares(2)
    await shares.take("a")
    waiting = asyncio.create_task(shares.take("a"))
    await go_on(waiting)
    for step in steps:
        if step == "leave":
            waiting.cancel()
        else:
            shares.give("a")
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    if "give" not in steps:
        shares.give("a")
    assert [await most(shares, "b"), await most(shares, "c")] == [1, 1]
