"""A sandbox that is ended while it is only just being started: nothing of it stays, and nothing waits for it."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress

import pytest

from berth.core.exec.sandbox import Outcome
from support.clients.polling import wait_until
from support.measuring.processes import children_of, processes_with
from support.sandboxes.opened import Opened, opened_sandbox

DELAYS = [number / 1000 for number in range(2, 42)]
"""From before the start of the supervisor to after that of the command, if several start at once."""


@pytest.fixture(scope="module", params=["overlay", "gvisor"])
def sandbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    with opened_sandbox(tmp_path_factory.mktemp("sandbox"), request.param) as sandbox:
        yield sandbox


def test_a_command_is_cancelled_at_any_moment_of_its_start(sandbox: Opened) -> None:
    """It ends within seconds, also if bwrap had started a process that did not know yet whom to die with."""
    mark = os.urandom(8).hex()

    async def cancelled(delay: float) -> Outcome:
        async with sandbox.sandbox.run(sandbox.command("sh", "-c", f"sleep 60; : {mark}", mark=mark)) as run:
            await asyncio.sleep(delay)
            await run.cancel()
            return (await run.result()).outcome

    async def all_of_them() -> list[Outcome]:
        async with asyncio.timeout(20):
            return await asyncio.gather(*map(cancelled, DELAYS))

    assert set(sandbox.wait(all_of_them())) == {Outcome.CANCELLED}
    assert processes_with(mark) == []


def test_nothing_survives_supervisors_that_are_killed_at_any_moment(sandbox: Opened) -> None:
    """Their commands are lost, and no process of them goes on without limits."""
    mark = os.urandom(8).hex()
    launcher = next(pid for pid in processes_with("process.launcher") if pid in children_of(os.getpid()))

    async def outcome() -> Outcome:
        async with sandbox.sandbox.run(sandbox.command("sh", "-c", f"sleep 60; : {mark}", mark=mark)) as run:
            return (await run.result()).outcome

    async def all_of_them() -> list[Outcome]:
        running = [asyncio.create_task(outcome()) for _ in DELAYS]
        while not all(one.done() for one in running):
            await asyncio.sleep(0.005)
            for supervisor in children_of(launcher)[:2]:
                with suppress(ProcessLookupError):
                    os.kill(supervisor, signal.SIGKILL)
        return [await one for one in running]

    assert set(sandbox.wait(all_of_them())) == {Outcome.LOST}
    wait_until(lambda: processes_with(mark) == [], seconds=20)


def test_nothing_survives_the_end_of_berth_beside_supervisors_that_do_not_run(
    sandbox: Opened, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Commands end with Berth even if their supervisors get no time at all to see to it."""
    mark = os.urandom(8).hex()

    async def started(opened: Opened, stack: AsyncExitStack) -> None:
        command = opened.command("sh", "-c", f"echo; sleep 60; : {mark}", mark=mark)
        run = await stack.enter_async_context(opened.sandbox.run(command))
        await anext(aiter(run.output()))

    async def ended(opened: Opened) -> float:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await started(opened, stack)
            launchers = [pid for pid in processes_with("process.launcher") if pid in children_of(os.getpid())]
            for supervisor in (pid for launcher in launchers for pid in children_of(launcher)):
                os.kill(supervisor, signal.SIGSTOP)
            begun = time.monotonic()
            await opened.sandbox.close()
            wait_until(lambda: processes_with(mark) == [], seconds=10)
            return time.monotonic() - begun

    with opened_sandbox(tmp_path_factory.mktemp("own"), sandbox.kind) as own:
        assert own.wait(ended(own)) < 4  # not only when the launcher is killed, which is after five
