"""A fake Sandbox for tests: it runs plain subprocesses in a folder, without any isolation."""

import asyncio
import os
import shutil
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from berth.core.exec.changes import Change, ChangedFile, DeletedFile, SkippedFile
from berth.core.exec.sandbox import FILES_AT, Outcome, Output, SandboxCommand, SandboxResult, Stream
from support.fakes.sandbox_session import FakeSession

WORK = "work"
CHUNK = 65_536


class FakeSandbox:
    """A Sandbox in name only. Commands work on copies of the files, and /mnt/data in their texts is that folder.

    `DISK` in the environment of a command makes it end with the outcome "disk". Sessions set
    `closing` when they are to end, and end once they `may_close`.
    """

    isolation = "none"
    has_sessions = True

    def __init__(self, problem: str | None = None) -> None:
        self._problem = problem
        self.commands: list[SandboxCommand] = []
        self.closing, self.may_close = asyncio.Event(), asyncio.Event()
        self.may_close.set()

    async def probe(self) -> str | None:
        """Return the problem that was given, None if there is none."""
        return self._problem

    async def session(self, command: SandboxCommand) -> FakeSession:
        """Start a session; see Sandbox."""
        self.commands.append(command)
        return FakeSession(command, closing=self.closing, may_close=self.may_close)

    def harvest(self, command: SandboxCommand) -> Iterator[Change]:
        """Yield what a command changed; see Sandbox."""
        return fake_harvest(command)

    async def close(self) -> None:
        """Do nothing; see Sandbox."""

    @asynccontextmanager
    async def run(self, command: SandboxCommand) -> AsyncIterator["FakeRun"]:
        """Start a command; see Sandbox."""
        self.commands.append(command)
        work = command.changes / WORK
        shutil.copytree(command.files, work)
        reports, child = os.pipe()
        more = (str(child),) if command.reports else ()
        process = await asyncio.create_subprocess_exec(
            *(argument.replace(FILES_AT, str(work)) for argument in (*command.argv, *more)),
            pass_fds=(child,),
            cwd=command.cwd.replace(FILES_AT, str(work)),
            env={"PATH": os.environ["PATH"], **command.env},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        os.close(child)
        os.set_blocking(reports, False)
        run = FakeRun(process, command, reports)
        try:
            yield run
        finally:
            await run.close()
            os.close(reports)


class FakeEgress:
    """An Egress without a proxy: the first of the domains is refused as soon as there is a way to them."""

    @staticmethod
    def listen(path: Path) -> socket.socket:
        """Make a file in place of a socket; see Egress."""
        path.touch()
        return socket.socket(socket.AF_UNIX)

    @asynccontextmanager
    async def opened(
        self, listener: socket.socket, domains: Sequence[str], *, tenant: str
    ) -> AsyncIterator[Sequence[str]]:
        """Refuse the first domain; see Egress."""
        assert listener.fileno() >= 0
        assert tenant
        yield [f"{domains[0]}:443"]


class FakeRun:
    """A SandboxRun of a subprocess."""

    def __init__(self, process: asyncio.subprocess.Process, command: SandboxCommand, reports: int) -> None:
        self._reports = reports
        self._process = process
        self._command = command
        self._began = time.monotonic()
        self._left = command.limits.output_bytes
        self._is_truncated = False
        self._outcome = Outcome.DISK if "DISK" in command.env else Outcome.EXIT
        self._output: asyncio.Queue[Output | None] = asyncio.Queue()
        self._running = asyncio.create_task(self._run())

    async def output(self) -> AsyncIterator[Output]:
        """Yield what it writes; see SandboxRun."""
        while (output := await self._output.get()) is not None:
            yield output

    async def result(self) -> SandboxResult:
        """Return how it ended; see SandboxRun."""
        await self._running
        code = self._process.returncode if self._outcome is Outcome.EXIT else None
        code = 128 - code if code is not None and code < 0 else code
        report = os.read(self._reports, CHUNK).decode()
        return SandboxResult(self._outcome, code, self._is_truncated, time.monotonic() - self._began, report)

    async def cancel(self) -> None:
        """End it; see SandboxRun."""
        self._end(Outcome.CANCELLED)

    async def close(self) -> None:
        """End it and wait for that."""
        self._kill()
        await self._running

    async def _run(self) -> None:
        stdin, stdout, stderr = self._process.stdin, self._process.stdout, self._process.stderr
        assert stdin is not None
        assert stdout is not None
        assert stderr is not None
        timer = asyncio.get_running_loop().call_later(self._command.limits.seconds, self._end, Outcome.TIMEOUT)
        with suppress(ConnectionError, BrokenPipeError):
            stdin.write(self._command.stdin)
            stdin.close()
        await asyncio.gather(self._read(stdout, Stream.STDOUT), self._read(stderr, Stream.STDERR))
        await self._process.wait()
        timer.cancel()
        self._kill()
        self._output.put_nowait(None)

    async def _read(self, pipe: asyncio.StreamReader, stream: Stream) -> None:
        while data := await pipe.read(CHUNK):
            kept = data[: self._left]
            self._left -= len(kept)
            self._is_truncated = self._is_truncated or len(kept) < len(data)
            if kept:
                self._output.put_nowait(Output(stream, kept))

    def _end(self, outcome: Outcome) -> None:
        if not self._running.done():
            self._outcome = outcome
            self._kill()

    def _kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def fake_harvest(command: SandboxCommand) -> Iterator[Change]:
    """Yield how the folder of a command of FakeSandbox differs from the files before; see Harvest."""
    work, before, count = command.changes / WORK, command.files, 0
    for path in sorted(before.rglob("*")):
        gone = path.relative_to(before)
        if path.is_file() and not (work / gone).is_file():
            yield DeletedFile(str(gone))
    for path in sorted(work.rglob("*")):
        name = str(path.relative_to(work))
        if path.is_symlink():
            yield SkippedFile(name, "it is a link")
        elif path.is_file() and not _is_same(path, before / name):
            count += 1
            if count > command.limits.files:
                yield SkippedFile(name, "there are too many files")
                continue
            descriptor = os.open(path, os.O_RDONLY)
            try:
                yield ChangedFile(name, path.stat().st_size, descriptor)
            finally:
                os.close(descriptor)


def _is_same(path: Path, before: Path) -> bool:
    return before.is_file() and before.read_bytes() == path.read_bytes()
