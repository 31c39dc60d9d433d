"""Session: an interpreter in a sandbox, and what its folder holds of the files of the container."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path
from socket import socket
from time import monotonic
from typing import NamedTuple

from berth.core.background import in_thread
from berth.core.exec.changes import Change
from berth.core.exec.harvest import Harvested
from berth.core.exec.python.reports import request_line
from berth.core.exec.requests import NO_WINDOWS, Command
from berth.core.exec.sandbox import Sandbox, SandboxCommand, SandboxLimits, SandboxRun, SandboxSession, SessionProgram
from berth.core.exec.store import FileChanges
from berth.core.exec.workspace import Layout, Workspace, make_workspace, new_folders
from berth.core.paths import ROOT
from berth.core.ports.container_store import ContainerFileRecord
from berth.core.trees import remove_tree

PROXY_NAME = "proxy"
"""The socket of the egress proxy, in the folder of a command or of a session."""
UNLIMITED_SECONDS = 1 << 40
"""The processor time of an interpreter: it counts all its programs, each of which has a timeout."""
_BLOCK = 4096


class SessionKey(NamedTuple):
    """What a session is found by."""

    tenant: str
    container_id: str
    name: str


class Session:
    """A session, which is started when it is first used, and again after it has ended.

    `folder` is its own; `memory_bytes` is what it may use and what is kept for it.
    """

    def __init__(self, key: SessionKey, folder: Path, memory_bytes: int) -> None:
        self.key = key
        self.memory_bytes = memory_bytes
        self.is_busy = True
        self.is_ending = False
        self.released = asyncio.Event()
        self.used_at = monotonic()
        self.last_exec: str | None = None
        self.listener: socket | None = None
        self._folder = folder
        self._workspace: Workspace | None = None
        self._sandboxed: SandboxSession | None = None
        self._held: dict[str, str] = {}
        self._there: dict[str, ContainerFileRecord] = {}
        self._count = 0

    @property
    def is_alive(self) -> bool:
        """Whether the interpreter has its variables and can run another program."""
        return self._sandboxed is not None and self._sandboxed.is_alive

    @property
    def files(self) -> Mapping[str, ContainerFileRecord]:
        """The files of the container that are in the folder of the session, by path, when a program begins."""
        return self._there

    async def follow(self, before: str | None, exec_id: str) -> bool:
        """Note which exec the session runs; it ran `before` according to the store, None if none is known.

        Return whether the variables are those that the exec before has left. If another process has run that one, those
        of the session are old, and it begins anew.
        """
        is_new = before is None and self.last_exec is None
        is_current = self.is_alive and before == self.last_exec
        if not is_current:
            await self.end()
        self.last_exec = exec_id
        return is_current or is_new

    async def prepare(
        self,
        sandbox: Sandbox,
        layout: Layout,
        command: Command,
        limits: SandboxLimits,
        *,
        skipped: Harvested,
        listen: Callable[[Path], socket] | None,
    ) -> SessionProgram:
        """Start the session if it is not alive; return the program for a command, with what has to be in the folder.

        With `listen`, which makes its socket, the session has a way to the egress proxy.

        StorageError if it cannot be started, or files cannot be copied.
        """
        request = request_line(command.source, stdin=command.stdin, cwd=command.cwd, env=command.env)
        incoming, removed = None, []
        if self._workspace is not None and self.is_alive:
            self._count += 1
            incoming = self._workspace.changes / str(self._count)
            try:
                self._there = await self._copy(layout, incoming, skipped)
            except BaseException:  # the session goes on if the program was cancelled
                await in_thread(remove_tree, incoming)
                raise
            removed = [path.removeprefix(f"{ROOT}/") for path in self._held if path not in self._there]
        else:
            await self.end()
            self._workspace = await make_workspace(self._folder)
            self._there = await self._copy(layout, self._workspace.files, skipped)
            proxy = listen and self._folder / PROXY_NAME
            self.listener = listen and listen(self._folder / PROXY_NAME)
            started = SandboxCommand(
                command.argv,
                self._workspace.files,
                self._workspace.changes,
                replace(limits, cpu_seconds=UNLIMITED_SECONDS),
                env=NO_WINDOWS,
                proxy=proxy,
            )
            self._sandboxed = await sandbox.session(started)
        has_new = incoming is not None and any(
            self._held.get(path) != record.sha256 for path, record in self._there.items()
        )
        return SessionProgram(request, self._limits(limits), incoming if has_new else None, removed)

    def run(self, program: SessionProgram) -> AbstractAsyncContextManager[SandboxRun]:
        """Run a program that was prepared."""
        assert self._sandboxed is not None  # noqa: S101 - `prepare` has started it
        return self._sandboxed.run(program)

    async def settle(self, program: SessionProgram, blocked: Mapping[str, str], skipped: Harvested) -> None:
        """Note which files a program had not, with the reasons; what it was sent is removed."""
        for name, reason in blocked.items():
            self._there.pop(f"{ROOT}/{name}", None)
            skipped.skip(name, reason)
        if program.incoming is not None:
            await in_thread(remove_tree, program.incoming)

    def harvest(self, program: SessionProgram) -> Iterator[Change]:
        """Yield what a program may have changed."""
        assert self._sandboxed is not None  # noqa: S101 - it has run a program
        return self._sandboxed.harvest(program.limits, {path.removeprefix(f"{ROOT}/") for path in self._there})

    def keep(self, changes: FileChanges) -> None:
        """Note that the changes of a program were stored: the folder holds what the container holds."""
        self._held = {path: record.sha256 for path, record in self._there.items()}
        self._held |= {written.path: written.stored.sha256 for written in changes.written}
        gone = {removed.file_id for removed in changes.removed}
        for path, record in self._there.items():
            if record.file.id in gone:
                self._held.pop(path, None)

    async def end(self) -> None:
        """End the interpreter and remove its folder."""
        sandboxed, self._sandboxed = self._sandboxed, None
        self._held = {}
        if sandboxed is not None:
            await sandboxed.close()
        if self.listener is not None:
            self.listener.close()
            self.listener = None
        self._workspace = None
        await in_thread(remove_tree, self._folder)  # it may be there if a start was cancelled

    async def _copy(self, layout: Layout, folder: Path, skipped: Harvested) -> dict[str, ContainerFileRecord]:
        return await layout.lay_out(self.key.tenant, self.key.container_id, folder, skipped, held=self._held)

    def _limits(self, limits: SandboxLimits) -> SandboxLimits:
        """Return the limits of a program: what the container holds is not counted as written by it."""
        size = sum(-(-record.file.bytes // _BLOCK) * _BLOCK for record in self._there.values())
        folders: set[str] = set()
        for path in self._there:
            folders.update(new_folders(path, folders))
        return replace(
            limits, disk_bytes=limits.disk_bytes + size, files=limits.files + len(self._there) + len(folders)
        )
