"""Work that is seen through, and who is told how it ends."""

import asyncio
from typing import Any

import pytest

from berth.core.completion import Completion
from berth.core.errors import StorageError


@pytest.mark.parametrize(
    ("error", "is_told"), [(StorageError("full", code="x"), False), (KeyError("bug"), True), (None, False)]
)
async def test_work_goes_on_without_its_caller(error: Exception | None, is_told: bool) -> None:  # noqa: FBT001 - a parameter
    """It ends though its caller went away; the loop is told of a bug in it, and of nothing else."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    go_on, done = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()
        if error is not None:
            raise error

    completion = Completion()
    caller = asyncio.ensure_future(completion.of(work()))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    go_on.set()
    await done.wait()
    for _ in range(3):
        await asyncio.sleep(0)
    assert caller.cancelled()
    assert [context["exception"] for context in told] == ([error] if is_told else [])
