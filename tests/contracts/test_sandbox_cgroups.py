"""Sandboxes in cgroups: the kernel bounds their memory and processes, and no group stays.

BERTH_TEST_CGROUP names a folder of cgroups v2 in which the user of the tests may make groups.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from berth.adapters.sandbox.cgroups import Delegated, find_cgroups
from berth.adapters.sandbox.process.cgroup import PREFIX
from berth.core.exec.sandbox import Outcome, SandboxRun
from support.clients.polling import wait_until
from support.measuring.processes import children_of, processes_with
from support.sandboxes.opened import Opened, driver

FOLDER = os.environ.get("BERTH_TEST_CGROUP")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="needs a delegated folder of cgroups v2, which BERTH_TEST_CGROUP names"
)
PIPES = (
    "import os, time\nkept = []\n"
    "for _ in range(480):\n  kept.append(os.pipe()); os.set_blocking(kept[-1][1], False)\n"
    "  try:\n    while True: os.write(kept[-1][1], bytes(65536))\n  except BlockingIOError: pass\n"
    "print('full', flush=True); time.sleep(20)"
)  # fmt: skip
"""30 MiB that are in no process and no file."""


@pytest.fixture(scope="module")
def cgroups() -> Delegated:
    found = find_cgroups(FOLDER or "off")
    assert found.folder is not None, found.reason
    return found


@pytest.fixture(scope="module", params=["overlay", "gvisor"])
def grouped(
    request: pytest.FixtureRequest, cgroups: Delegated, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Opened]:
    """Open a driver with cgroups, and check in the end that no group is left."""
    folder = tmp_path_factory.mktemp("sandbox")
    with asyncio.Runner() as runner:
        sandbox = driver(request.param, folder, cgroups=cgroups)
        assert runner.run(sandbox.probe()) is None
        yield Opened(sandbox, folder, runner, request.param)
        runner.run(sandbox.close())
    assert groups(cgroups) == []


def groups(cgroups: Delegated) -> list[Path]:
    """Return the folders of launchers and all groups in them."""
    assert cgroups.folder is not None
    return [path for path in cgroups.folder.rglob("*") if path.is_dir() and f"/{PREFIX}" in str(path)]


def test_the_kernel_bounds_what_a_watch_does_not_see(grouped: Opened) -> None:
    """What pipes hold counts, and the outcome is that of other memory; without such a program the limit suffices."""
    limit = (64 if grouped.runs_guest else 24) << 20
    assert grouped.python("print(1)", memory_bytes=limit).stdout == b"1\n"
    ran = grouped.python(PIPES, memory_bytes=limit, seconds=10.0)
    assert (ran.result.outcome, ran.result.exit_code, ran.stdout) == (Outcome.MEMORY, None, b"")


def test_memory_of_a_process_is_bounded_at_once(grouped: Opened) -> None:
    """However fast it takes memory, the command never has more than its limit."""
    ran = grouped.python("x = bytearray(1 << 30); print(len(x))")
    assert (ran.result.outcome, ran.stdout) == (Outcome.MEMORY, b"")


def test_groups_go_with_their_commands(grouped: Opened, cgroups: Delegated) -> None:
    """While a command runs there is a group with its processes, and a moment later none."""
    seen: list[str] = []

    async def look(run: SandboxRun) -> None:
        await anext(aiter(run.output()))
        seen.extend(path.joinpath("cgroup.procs").read_text() for path in groups(cgroups))

    command = grouped.command("sh", "-c", "echo running; sleep 0.5")
    assert grouped.wait(grouped.ran(command, look)).result.outcome is Outcome.EXIT
    assert any(seen)
    wait_until(lambda: len(groups(cgroups)) == 1, seconds=20)


def test_a_killed_supervisor_leaves_no_group(grouped: Opened, cgroups: Delegated) -> None:
    """The launcher removes the group when all that was in it has ended."""
    launcher = next(pid for pid in processes_with("process.launcher") if pid in children_of(os.getpid()))

    async def kill(run: SandboxRun) -> None:
        await anext(aiter(run.output()))
        for supervisor in children_of(launcher):
            os.kill(supervisor, signal.SIGKILL)

    command = grouped.command("sh", "-c", "echo running; sleep 60")
    assert grouped.wait(grouped.ran(command, kill)).result.outcome is Outcome.LOST
    wait_until(lambda: len(groups(cgroups)) == 1, seconds=20)


def test_what_a_killed_launcher_left_is_removed_by_the_next(grouped: Opened, cgroups: Delegated) -> None:
    """Its folder has no lock any more; processes in it are killed."""
    mark = os.urandom(8).hex()

    async def killed() -> Outcome:
        async with grouped.sandbox.run(grouped.command("sh", "-c", f"echo; sleep 60; : {mark}", mark=mark)) as run:
            await anext(aiter(run.output()))
            launcher = next(pid for pid in processes_with("process.launcher") if pid in children_of(os.getpid()))
            for pid in (launcher, *children_of(launcher)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return (await run.result()).outcome

    assert grouped.wait(killed()) is Outcome.LOST
    wait_until(lambda: processes_with(mark) == [], seconds=20)
    assert grouped.run("true").result.outcome is Outcome.EXIT
    wait_until(lambda: len(groups(cgroups)) == 1, seconds=20)
