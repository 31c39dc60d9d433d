"""Sandbox: the port for running a command of a tenant where it can reach nothing but its files."""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, Protocol

from berth.core.exec.changes import Change


class Stream(StrEnum):
    """Where a command writes."""

    STDOUT = "stdout"
    STDERR = "stderr"


class Output(NamedTuple):
    """Some bytes that a command wrote."""

    stream: Stream
    data: bytes


class Outcome(StrEnum):
    """How a command ended."""

    EXIT = "exit"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    DISK = "disk"
    CANCELLED = "cancelled"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What a command may use; the sums are those of all its processes.

    `seconds` is how long it may run, `cpu_seconds` how much processor time each process may use, `output_bytes` how
    much of stdout and stderr together is kept, `disk_bytes` and `files` how much it may write into its folder.
    """

    memory_bytes: int
    seconds: float
    cpu_seconds: int
    processes: int
    output_bytes: int
    disk_bytes: int
    files: int


@dataclass(frozen=True, slots=True)
class SandboxCommand:
    """What is run: `argv` in the folder `cwd`, with these variables and this input, and nothing of Berth's own.

    `files` is a folder with the files of the container: the command sees them at FILES_AT, and what it changes is in
    the folder `changes` afterwards, as the upper layer of an overlay has it. `files` may hold links to blobs of the
    same user; their content is never changed. If Berth runs as root, the files get another owner; links become copies
    first. `changes` is made if it is not there, and is empty before. `proxy` is the socket of an egress proxy, None for
    no network at all. If it `reports`, the number of a pipe for its report is added to its arguments.
    """

    argv: tuple[str, ...]
    files: Path
    changes: Path
    limits: SandboxLimits
    cwd: str = "/mnt/data"
    env: Mapping[str, str] = field(default_factory=dict)
    stdin: bytes = b""
    proxy: Path | None = None
    reports: bool = False


@dataclass(frozen=True, slots=True)
class SessionProgram:
    """A program for a session: `request` is the line, without its end, that the interpreter of the session gets.

    Before it runs, the files in the folder `incoming`, which is below the `changes` of the session, are put in their
    places, and the files with the paths `removed` are removed; all paths are relative. `limits` are as for a command,
    except that `disk_bytes` and `files` count all that is in the folder, not only changes, and that memory, processes
    and processor time are limited for the whole session.
    """

    request: str
    limits: SandboxLimits
    incoming: Path | None = None
    removed: Sequence[str] = ()


class SandboxResult(NamedTuple):
    """How a command ended; `exit_code` only if it ended by itself, `truncated` if not all of its output was kept.

    `report` is what it reported, at most MAX_REPORT characters; a command may report anything. `blocked` are the paths
    of incoming files that could not be put in their places, because a folder is there.
    """

    outcome: Outcome
    exit_code: int | None
    truncated: bool
    seconds: float
    report: str = ""
    blocked: Sequence[str] = ()


class SandboxRun(Protocol):
    """A command that runs. Leaving its context ends it, with all its processes."""

    def output(self) -> AsyncIterator[Output]:
        """Yield what the command writes, until it has ended. A slow reader does not slow the command."""

    async def result(self) -> SandboxResult:
        """Return how it ended, once no process of it is left."""

    async def cancel(self) -> None:
        """End it with all its processes, within a second."""


class SandboxSession(Protocol):
    """A sandbox with an interpreter that runs one program after the other. Between them, none of its processes runs.

    After a program the interpreter alone is left, and it is stopped, with all its threads.
    """

    @property
    def is_alive(self) -> bool:
        """Whether it can run another program: not after it has ended, or exceeded a limit and did not stop soon."""

    def run(self, program: SessionProgram) -> AbstractAsyncContextManager[SandboxRun]:
        """Run a program; its result has an exit code only if the whole session has ended, otherwise its report.

        A program that takes too long or is cancelled is interrupted; if it does not end soon, the session is ended.
        """
        ...

    def harvest(self, limits: SandboxLimits, paths: Collection[str]) -> Iterator[Change]:
        """Yield what differs from the last time, when the folder had files at these `paths`; as Sandbox.harvest.

        Also files that are as before may be yielded.
        """
        ...

    async def close(self) -> None:
        """End it with all its processes."""


class Sandbox(Protocol):
    """Runs commands in isolation; `isolation` names how. A driver that has no sessions refuses them."""

    isolation: str
    has_sessions: bool

    async def probe(self) -> str | None:
        """Run a command; return why that does not work here and what to do about it, None if it works."""

    def run(self, command: SandboxCommand) -> AbstractAsyncContextManager[SandboxRun]:
        """Start a command. StorageError, from here or from `result`, if it cannot be started.

        If the program or `cwd` does not exist, that is a result: exit code 127 or 126. The kernel takes at most
        128 KiB for one argument; a longer text has to be `stdin` or a file.
        """
        ...

    async def session(self, command: SandboxCommand) -> SandboxSession:
        """Start a session; StorageError if it cannot be started, ExecUnsupportedError if the driver has none.

        `command` is its interpreter: two numbers of pipes are added to its arguments. It reads a line for each program
        from the first, and writes one line to the second when the program has ended; both begin with a number, which is
        the same, and a space, and are not read otherwise. The session works in
        `command.files` itself, which must not have links to blobs; nothing else may change that folder.
        """

    def harvest(self, command: SandboxCommand) -> Iterator[Change]:
        """Yield what a command changed, once its result is there; it blocks, so call it in a thread.

        `limits.files` bounds the entries and `limits.disk_bytes` the bytes; beyond them, entries are skipped. A file
        that was only touched is no change. A file of the container in place of which there is a link, or another entry
        that is skipped, has not changed either.
        """
        ...

    async def close(self) -> None:
        """Free what the driver holds. Commands that still run end with their contexts."""


NO_SESSIONS = "this sandbox has no sessions: run the code without 'session'"
"""Why a driver refuses a session if it has none."""
MAX_REPORT = 65_536
"""How long the report of a command may be; a longer one counts as none."""
FILES_AT = "/mnt/data"
"""Where a command finds the files of its container."""
