"""A fake SandboxSession for tests: a plain interpreter that works in the folder, without any isolation."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, suppress

from berth.core.exec.changes import Change, ChangedFile, DeletedFile
from berth.core.exec.sandbox import (
    FILES_AT,
    Outcome,
    Output,
    SandboxCommand,
    SandboxLimits,
    SandboxResult,
    SessionProgram,
    Stream,
)

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class FakeSession:
    """A SandboxSession in name only; its output is in files beside its folder. Cancelling a program kills it."""

    def __init__(self, command: SandboxCommand, *, closing: asyncio.Event, may_close: asyncio.Event) -> None:
        self._closing = closing
        self._may_close = may_close
        self._folder = command.files
        self._incoming = command.changes
        self._known: dict[str, bytes] = {}
        self.outputs = {stream: command.files.parent / stream.value for stream in Stream}
        requests, self._requests = os.pipe()
        self._reports, reports = os.pipe()
        given = [requests, reports, *(os.open(path, _APPEND, 0o600) for path in self.outputs.values())]
        self._process: asyncio.Task[asyncio.subprocess.Process] = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                sys.executable,
                *(argument.replace(FILES_AT, str(self._folder)) for argument in command.argv[1:]),
                str(requests),
                str(reports),
                env={"PATH": os.environ["PATH"], **command.env},
                stdout=given[2],
                stderr=given[3],
                pass_fds=(requests, reports),
            )
        )
        self._process.add_done_callback(lambda _: _close(given))
        self._has_ended = False

    @property
    def is_alive(self) -> bool:
        """Whether it can run another program; see SandboxSession."""
        return not self._has_ended

    @asynccontextmanager
    async def run(self, program: SessionProgram) -> AsyncIterator["FakeProgramRun"]:
        """Run a program; see SandboxSession."""
        for path in program.removed:
            (self._folder / path).unlink()
        if program.incoming is not None:
            shutil.copytree(program.incoming, self._folder, dirs_exist_ok=True)
        await asyncio.shield(self._process)  # it is still to be ended if the program is cancelled
        run = FakeProgramRun(self, program.limits)
        os.write(self._requests, b"1 " + program.request.replace(FILES_AT, str(self._folder)).encode() + b"\n")
        yield run

    async def report(self) -> str:
        """Return the next report, nothing if the interpreter has ended."""
        found = await asyncio.to_thread(os.read, self._reports, 65_536)
        return found.decode().removeprefix("1 ")

    def harvest(self, limits: SandboxLimits, paths: Collection[str]) -> Iterator[Change]:  # noqa: ARG002 - the port's
        """Yield what has changed; see SandboxSession."""
        found = {str(path.relative_to(self._folder)): path for path in self._folder.rglob("*") if path.is_file()}
        yield from (DeletedFile(path) for path in paths if path not in found)
        for name, path in found.items():
            content = path.read_bytes()
            if self._known.get(name) != content:
                with path.open("rb") as file:
                    yield ChangedFile(name, len(content), file.fileno())
            self._known[name] = content

    async def kill(self) -> int:
        """End the interpreter, if it has not ended; return its exit code."""
        self._has_ended = True
        process = await self._process
        with suppress(ProcessLookupError):
            process.kill()
        return await process.wait()

    async def close(self) -> None:
        """End it; see SandboxSession."""
        self._closing.set()
        await self._may_close.wait()
        if self._requests >= 0:
            await self.kill()
            os.close(self._requests)
            os.close(self._reports)
            self._requests = self._reports = -1


class FakeProgramRun:
    """A SandboxRun of a program in a FakeSession."""

    def __init__(self, session: FakeSession, limits: SandboxLimits) -> None:
        self._session = session
        self._offsets = {stream: path.stat().st_size for stream, path in session.outputs.items()}
        self._outcome = Outcome.EXIT
        self._began = time.monotonic()
        self._running = asyncio.create_task(self._run(limits.seconds))

    async def output(self) -> AsyncIterator[Output]:
        """Yield what it wrote, when it has ended."""
        await asyncio.wait([self._running])
        for stream, path in self._session.outputs.items():
            if data := path.read_bytes()[self._offsets[stream] :]:
                yield Output(stream, data)

    async def result(self) -> SandboxResult:
        """Return how it ended; see SandboxRun."""
        return await asyncio.shield(self._running)

    async def cancel(self) -> None:
        """Kill the interpreter."""
        self._outcome = Outcome.CANCELLED
        await self._session.kill()

    async def _run(self, seconds: float) -> SandboxResult:
        timer = asyncio.get_running_loop().call_later(seconds, lambda: asyncio.ensure_future(self._time_out()))
        report = await self._session.report()
        timer.cancel()
        code = None
        if not report:
            code = await self._session.kill()
        if self._outcome is not Outcome.EXIT:
            code = None
        return SandboxResult(
            self._outcome, code, truncated=False, seconds=time.monotonic() - self._began, report=report
        )

    async def _time_out(self) -> None:
        self._outcome = Outcome.TIMEOUT
        await self._session.kill()
