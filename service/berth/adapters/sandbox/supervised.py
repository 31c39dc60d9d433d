"""What the drivers share: bwrap makes the namespaces of a sandbox, and a supervisor starts, watches and ends it."""

import asyncio
import itertools
import os
import platform
import secrets
import shutil
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from berth.adapters.sandbox import seccomp
from berth.adapters.sandbox.cgroups import Delegated
from berth.adapters.sandbox.harvest import harvest
from berth.adapters.sandbox.launcher import Launcher
from berth.adapters.sandbox.process.arguments import RECEIVED
from berth.adapters.sandbox.process.bridge import PORT
from berth.adapters.sandbox.program import Program, find_bwrap
from berth.adapters.sandbox.reasons import MISSING, UNKNOWN_MACHINE, explain
from berth.adapters.sandbox.run import SupervisedRun
from berth.adapters.sandbox.runtime import find_runtime
from berth.core.errors import BerthError, StorageError
from berth.core.exec.changes import Change
from berth.core.exec.sandbox import FILES_AT, Outcome, SandboxCommand, SandboxLimits

_FIRST_UID, _UIDS = 1_879_048_192, 1 << 16
"""Root gives each command another of these users, which own nothing else."""
_NOBODY = 65534
_PROBE = SandboxLimits(128 << 20, 20.0, 10, 16, 4096, 1 << 20, 16)


class SupervisedSandbox:
    """Implements most of Sandbox. `folder` is where files and changes will be; `runtime` is the Python of commands.

    `cgroups` is a folder of cgroups v2 that has been delegated to Berth; without it a watch alone bounds the memory.
    """

    isolation: str
    has_sessions = True

    def __init__(self, folder: Path, *, runtime: Path | None = None, cgroups: Delegated | None = None) -> None:
        self._folder = folder
        self._runtime_folder = runtime
        self.cgroups = cgroups or Delegated(None)
        self._launcher = Launcher(self.cgroups.folder)
        self._program: Program | None = None
        self.has_overlay = True
        self._bounds_buffers = True
        self._uids = _users()

    async def probe(self) -> str | None:
        """Run a command; return why that does not work here and what to do about it, None if it works."""
        if platform.machine() not in seccomp.MACHINES:
            return UNKNOWN_MACHINE
        self._program = await find_bwrap()
        if self._program is None:
            return MISSING
        try:
            find_runtime(self._runtime_folder)
        except StorageError as error:  # what helps against other failures does not against this one
            return f"exec.runtime: {error.message}"
        problem = await self._problem()
        if problem is not None and self.cgroups.folder is not None and not self.cgroups.is_required:
            self.cgroups.give_up(f"no command can be run in {self.cgroups.folder}: {problem}")
            await self._launcher.close()
            self._launcher = Launcher()
            problem = await self._problem()
        return None if problem is None else self._explain(problem)

    async def _problem(self) -> str | None:
        problem = None
        for has_overlay in (True, False):
            self.has_overlay = has_overlay
            problem = await self._try()
            if problem is not None and RECEIVED in problem:
                self._bounds_buffers = False  # its memory is watched all the same
                problem = await self._try()
            if problem is None:
                return None
        return problem

    def _explain(self, problem: str) -> str:
        return explain(problem)

    async def _try(self) -> str | None:
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._folder))
        try:
            (folder / "files").mkdir()
            command = SandboxCommand(("python3", "-c", "open('f', 'w')"), folder / "files", folder / "changes", _PROBE)
            async with self.run(command) as run:
                outputs = [output.data async for output in run.output()]
                result = await run.result()
            is_made = (folder / "changes" / "f").is_file()
        except BerthError as error:
            return error.message
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        if (result.outcome, result.exit_code, is_made) == (Outcome.EXIT, 0, True):
            return None
        return b"".join(outputs).decode(errors="replace").strip() or f"the command ended with {result.outcome}"

    @asynccontextmanager
    async def run(self, command: SandboxCommand) -> AsyncIterator[SupervisedRun]:
        """Start a command. StorageError, from here or from `result`, if it cannot be started."""
        spec = await self._spec(command)
        run = await SupervisedRun.started(await self._launcher.supervisor(), spec)
        try:
            yield run
        finally:
            await run.close()

    def harvest(self, command: SandboxCommand) -> Iterator[Change]:
        """Yield what a command that has ended changed."""
        return harvest(command.files, command.changes, command.limits)

    async def close(self) -> None:
        """End the process that starts sandboxes."""
        await self._launcher.close()

    async def _spec(self, command: SandboxCommand) -> dict[str, Any]:
        """Return what the supervisor is sent."""
        if self._program is None:
            self._program = await find_bwrap()
        if self._program is None:
            raise StorageError(MISSING)
        runtime = find_runtime(self._runtime_folder)
        command.changes.mkdir(mode=0o700, exist_ok=True)
        return {
            "argv": command.argv,
            "bounds_buffers": self._bounds_buffers,
            "bwrap": str(self._program.path),
            "channels": ("reports",) if command.reports else (),
            "changes": str(command.changes.absolute()),
            "cwd": command.cwd,
            "env": {"PATH": runtime.path, **_ENVIRONMENT, **(_PROXIES if command.proxy else {}), **command.env},
            "files": str(command.files.absolute()),
            "files_at": FILES_AT,
            "guest": None,
            "limits": {name: getattr(command.limits, name) for name in SandboxLimits.__slots__},
            "overlay": self.has_overlay,
            "proxy": command.proxy and str(command.proxy.absolute()),
            "runtime": {"paths": runtime.paths, "hidden": runtime.hidden, "links": runtime.links},
            "seccomp": b64encode(seccomp.assemble(platform.machine())).decode(),
            "session": False,
            "sources": [*runtime.sources, str(self._program.folder)],
            "stdin": b64encode(command.stdin).decode(),
            "uid": next(self._uids) if os.geteuid() == 0 else None,
        }


def _users() -> Iterator[int]:
    """Return users for commands; only one in a container that has no others."""
    if not _has_user(_FIRST_UID + _UIDS):
        return itertools.cycle([_NOBODY])
    start = secrets.randbelow(_UIDS)
    return itertools.cycle([*range(_FIRST_UID + start, _FIRST_UID + _UIDS), *range(_FIRST_UID, _FIRST_UID + start)])


def _has_user(uid: int) -> bool:
    try:
        lines = Path("/proc/self/uid_map").read_text(encoding="ascii").splitlines()
    except OSError:
        return False
    maps = [tuple(map(int, line.split())) for line in lines]
    return any(first <= uid < first + count for first, _, count in maps)


_ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": "/tmp"}  # noqa: S108 - the sandbox's
"""Compiled files would be among the changes."""
_PROXY = f"http://127.0.0.1:{PORT}"
_PROXIES = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), _PROXY),
    # Servers that a command starts for itself are in the sandbox.
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "localhost,127.0.0.1,::1"),
}
