"""Work that is seen through, and who is told how it ends."""

import asyncio
import threading
from typing import Any

import pytest

from berth.core.background import BackgroundTasks, in_thread
from berth.core.errors import StorageError


@pytest.mark.parametrize(
    ("error", "is_told"), [(StorageError("full", code="x"), False), (KeyError("bug"), True), (None, False)]
)
async def test_work_goes_on_without_its_caller(error: Exception | None, is_told: bool) -> None:  # noqa: FBT001 - a parameter
    """It ends though its caller went away; the loop is told of a bug in it, and of nothing else."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        await go_on.wait()
        if error is not None:
            raise error

    background = BackgroundTasks()
    caller = asyncio.ensure_future(background.finish(work()))
    await begun.wait()
    caller.cancel()
    await asyncio.wait([caller])
    (working,) = asyncio.all_tasks() - {asyncio.current_task()}
    go_on.set()
    await asyncio.wait([working])
    assert caller.cancelled()
    assert [context["exception"] for context in told] == ([error] if is_told else [])


async def test_who_is_cancelled_waits_for_a_thread() -> None:
    """What a caller does after a function in a thread does not meet it, even if the caller was cancelled."""
    begun, go_on = threading.Event(), threading.Event()
    steps: list[str] = []

    def work() -> None:
        begun.set()
        go_on.wait()
        steps.append("made")

    async def call() -> None:
        try:
            await in_thread(work)
        finally:
            steps.append("removed")

    caller = asyncio.ensure_future(call())
    await asyncio.to_thread(begun.wait)
    caller.cancel()
    done, _ = await asyncio.wait([caller], timeout=0.1)
    assert not done
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert steps == ["made", "removed"]
