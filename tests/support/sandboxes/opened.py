"""A driver for tests: runs a command on some files, and says what became of it and of them."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from berth.adapters.sandbox.bubblewrap import Bubblewrap
from berth.adapters.sandbox.gvisor import Gvisor
from berth.core.exec.changes import Change, ChangedFile, DeletedFile, SkippedFile
from berth.core.exec.sandbox import Sandbox, SandboxCommand, SandboxLimits, SandboxResult, SandboxRun, Stream
from support.sandboxes.needed import NO_RUNSC, runsc

T = TypeVar("T")
SANDBOXES = ("overlay", "copies", "gvisor")
"""The driver `bubblewrap`, in each way in which it can show files, and the driver `gvisor`."""
LIMITS = SandboxLimits(
    memory_bytes=96 << 20,
    seconds=30.0,
    cpu_seconds=20,
    processes=24,
    output_bytes=1 << 20,
    disk_bytes=8 << 20,
    files=200,
)
"""Small, since the machine of the tests is not theirs alone."""


@dataclass
class Ran:
    """What a command left: its result, its output, and the changes of its files."""

    result: SandboxResult
    stdout: bytes = b""
    stderr: bytes = b""
    changed: dict[str, bytes] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    skipped: dict[str, str] = field(default_factory=dict)


class Opened:
    """A driver with an event loop of its own, so that tests share it; `kind` is one of SANDBOXES."""

    def __init__(self, sandbox: Sandbox, folder: Path, runner: asyncio.Runner, kind: str = "overlay") -> None:
        self.sandbox = sandbox
        self.kind = kind
        self.runs_guest = kind == "gvisor"
        self.folder = folder
        self.runner = runner

    def command(
        self, *argv: str, files: Mapping[str, bytes] | None = None, mark: str = "", **given: Any
    ) -> SandboxCommand:
        """Return a command on some files; `given` are its fields and limits; `entries` limits files.

        The `mark` is in the name of its folder. Processes of the host have that, or an argument of the command, among
        theirs, as the driver has it.
        """
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=mark))
        for path, content in {"kept.txt": b"kept", **(files or {})}.items():
            (folder / "files" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "files" / path).write_bytes(content)
        limits = {name: given.pop(name) for name in tuple(given) if name in SandboxLimits.__slots__}
        limits["files"] = given.pop("entries", LIMITS.files)
        return SandboxCommand(argv, folder / "files", folder / "changes", replace(LIMITS, **limits), **given)

    def run(self, *argv: str, **given: Any) -> Ran:
        """Run a command to its end."""
        return self.runner.run(self.ran(self.command(*argv, **given)))

    def python(self, source: str, **given: Any) -> Ran:
        """Run a Python program to its end."""
        return self.run("python3", "-c", source, **given)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of the driver."""
        return self.runner.run(coroutine)

    async def ran(self, command: SandboxCommand, while_it_runs: Callable[[SandboxRun], Any] | None = None) -> Ran:
        """Run a command, and something beside it."""
        found: dict[Stream, bytes] = dict.fromkeys(Stream, b"")
        async with self.sandbox.run(command) as run:
            if while_it_runs is not None:
                await while_it_runs(run)
            async for stream, data in run.output():
                found[stream] += data
            result = await run.result()
        ran = Ran(result, found[Stream.STDOUT], found[Stream.STDERR])
        collected(self.sandbox.harvest(command), ran)
        return ran


def collected(changes: Iterator[Change], ran: Ran) -> None:
    """Add changes to what a command left."""
    for change in changes:
        if isinstance(change, ChangedFile):
            ran.changed[change.path] = os.pread(change.descriptor, change.size + 1, 0)
        elif isinstance(change, DeletedFile):
            ran.deleted.add(change.path)
        elif isinstance(change, SkippedFile):
            ran.skipped[change.path] = change.reason


@contextmanager
def opened_sandbox(folder: Path, kind: str = "overlay") -> Iterator[Opened]:
    """Open one of SANDBOXES; the test is skipped where it does not work."""
    with asyncio.Runner() as runner:
        sandbox = driver(kind, folder)
        problem = runner.run(sandbox.probe())
        try:
            yield Opened(_usable(sandbox, problem, has_overlay=kind != "copies"), folder, runner, kind)
        finally:
            runner.run(sandbox.close())


def driver(kind: str, folder: Path, **given: Any) -> Bubblewrap | Gvisor:
    """Return a driver; the test is skipped if its program is missing."""
    if kind != "gvisor":
        return Bubblewrap(folder, **given)
    import pytest  # noqa: PLC0415 - programs that tests start use this module, too

    if (program := runsc()) is None:
        pytest.skip(NO_RUNSC)
    return Gvisor(folder, program, **given)


def _usable(sandbox: Bubblewrap | Gvisor, problem: str | None, *, has_overlay: bool) -> Bubblewrap | Gvisor:
    import pytest  # noqa: PLC0415 - as above

    if problem is not None:
        (pytest.fail if isinstance(sandbox, Gvisor) and "BERTH_TEST_RUNSC" in os.environ else pytest.skip)(problem)
    if has_overlay and not sandbox.has_overlay:
        pytest.skip("no overlay works here without rights")
    sandbox.has_overlay = has_overlay
    return sandbox
