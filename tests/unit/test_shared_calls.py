"""SingleFlight: who shares a call, and when there is a new one."""

import asyncio

import pytest

from berth.core.caching.single_flight import SingleFlight
from berth.core.errors import UpstreamError


class Calls:
    """Calls that wait for `go`; what was abandoned waits for `closed` before it is over."""

    def __init__(self) -> None:
        self.shared: SingleFlight[str, int] = SingleFlight()
        self.go, self.closed = asyncio.Event(), asyncio.Event()
        self.begun = self.abandoned = 0

    async def call(self) -> int:
        self.begun += 1
        number = self.begun
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.abandoned += 1
            await self.closed.wait()
            raise
        return number

    async def join(self, key: str = "a") -> "asyncio.Task[int]":
        """Start to wait for the call of `key`."""
        task = asyncio.create_task(self.shared.join(key, self.call))
        for _ in range(5):
            await asyncio.sleep(0)
        return task


async def test_one_call_answers_all_who_want_the_same() -> None:
    """Others have calls of their own, and behind its end there is a new one."""
    calls = Calls()
    tasks = [await calls.join(key) for key in ("a", "b", "a")]
    calls.go.set()
    assert await asyncio.gather(*tasks) == [1, 2, 1]
    assert await (await calls.join("a")) == 3
    assert calls.shared._running == {}


async def test_who_comes_when_an_abandoned_call_is_closing_starts_anew() -> None:
    """A call that all have left answers nobody any more, even if it takes its time to end."""
    calls = Calls()
    left = await calls.join()
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    late = await calls.join()
    assert (calls.begun, calls.abandoned) == (2, 1)
    calls.closed.set()
    calls.go.set()
    assert await late == 2
    assert calls.shared._running == {}


async def test_who_comes_when_a_call_has_just_ended_starts_anew() -> None:
    """Its callers need not have woken: otherwise one error could be handed on for ever."""
    calls = Calls()
    late: list[asyncio.Task[int]] = []

    async def fail() -> int:
        asyncio.get_running_loop().call_soon(
            lambda: late.append(asyncio.ensure_future(calls.shared.join("a", calls.call)))
        )
        raise UpstreamError("It failed.")

    calls.go.set()
    with pytest.raises(UpstreamError):
        await calls.shared.join("a", fail)
    assert await late[0] == 1


async def test_a_call_that_fails_when_nobody_waits_fails_in_silence() -> None:
    """An error that has nobody to go to is no event for the log."""
    calls = Calls()
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    async def fail() -> int:
        try:
            await calls.go.wait()
        finally:
            raise UpstreamError("It failed.")

    left = asyncio.create_task(calls.shared.join("a", fail))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    for _ in range(5):
        await asyncio.sleep(0)
    assert told == []
