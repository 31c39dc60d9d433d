"""Execution: one command, from the copies of its files to its stored result."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from socket import socket
from time import monotonic
from typing import NamedTuple

from berth.core.background import Abortable, completed, create_detached
from berth.core.caller import Caller
from berth.core.errors import InvalidRequestError, NotFoundError, StorageError
from berth.core.exec.egress import Egress
from berth.core.exec.harvest import Harvested, Harvester
from berth.core.exec.python.reports import ProgramReport, read_report
from berth.core.exec.requests import Command, ExecLimits
from berth.core.exec.sandbox import Outcome, Sandbox, SandboxCommand, SandboxLimits, SandboxResult, SandboxRun
from berth.core.exec.sessions.session import PROXY_NAME, Session
from berth.core.exec.store import LEASE_SECONDS, NO_CHANGES, ExecOwner, ExecStore, FileChanges, with_files
from berth.core.exec.transcript import Transcript
from berth.core.exec.workspace import IN_THE_WAY, Layout, Workspace, opened_workspace
from berth.core.hosted.content import ContentStore
from berth.core.paths import ROOT
from berth.core.ports.container_store import Quotas
from berth.v1.exec_pb2 import Exec, ExecOutcome

LOOK_SECONDS = 1.0
"""How often the store is asked whether a command has to end, and gets its output."""
RENEW_SECONDS = 5.0
MARGIN_SECONDS = 2.0
"""How long before the end of a lease that could not be renewed a command is ended."""
LAST_TRY_SECONDS = 0.5
"""How long of that the store is asked once more."""
FINISH_TRIES = 3
"""How often a result is stored at least, if that fails, and one that has nothing to be lost at most."""
Report = Callable[[str, Mapping[str, object]], None]
"""Reports an event, with facts about it: to the audit trail, the log or the metrics."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What executions share. `folder` is for their files; `process` names this process in the store.

    `report_failure` gets the error because of which the result of a command is lost.
    """

    store: ExecStore
    sandbox: Sandbox
    egress: Egress
    layout: Layout
    harvester: Harvester
    content: ContentStore
    quotas: Quotas
    limits: ExecLimits
    folder: Path
    process: str
    report_failure: Callable[[str, BaseException], None]
    look_seconds: float = LOOK_SECONDS


class Ended(NamedTuple):
    """How a command ended, and what it changed."""

    outcome: Outcome
    exit_code: int | None = None
    is_truncated: bool = False
    seconds: float = 0.0
    changes: FileChanges = NO_CHANGES


LOST = Ended(Outcome.LOST)


class Place(NamedTuple):
    """What a command runs in: a session, or a sandbox of its own if there is none; `release` gives back its memory.

    That is called at the end, with whether the session can be used again. The lease of the exec begins after `taken_at`
    of the monotonic clock: a store may be slow to answer.
    """

    session: Session | None
    release: Callable[[bool], Awaitable[None]]
    taken_at: float


class Execution:
    """Runs `command` as the exec `started` of `caller` in a `place`. Its container may use `memory_bytes`.

    It can reach the `domains`, and without any it has no network.
    """

    def __init__(
        self,
        tools: Tools,
        caller: Caller,
        started: Exec,
        command: Command,
        *,
        place: Place,
        memory_bytes: int,
        domains: Sequence[str] = (),
    ) -> None:
        self._session = place.session
        self._release = place.release
        self._is_kept = self._is_prepared = False
        self._tools = tools
        self._caller = caller
        self._tenant = caller.tenant
        self._started = started
        self._command = command
        self._memory_bytes = memory_bytes
        self._domains = domains
        self._refusals: Sequence[str] = ()
        self._owner = ExecOwner(started.id, tools.process)
        self._harvested = Harvested()
        self._preparing = Abortable()
        self._run: SandboxRun | None = None
        self._is_cancelled = self._is_lost = False
        self._appended = 0
        self._held_until = _held_until(place.taken_at)
        self.container_id = started.container_id
        self.transcript = Transcript(started, command.output_bytes)
        self.has_ended = asyncio.Event()
        self.stored: Exec | None = None
        """The result, without its output, once the store has it."""

    async def execute(self) -> Exec:
        """Run the command and store its result; return it. If this is cancelled, the result is "lost"."""
        watching = create_detached(self._watch())
        exec_ = self._exec(LOST)
        try:
            exec_ = await self._execute()
        finally:
            watching.cancel()  # if the result could not be stored, the lease ends and the exec is lost
            self.transcript.close()
            try:
                await completed(self._release(self._is_kept))
            finally:
                self.transcript.end(exec_)
                self.has_ended.set()
        return exec_

    async def _execute(self) -> Exec:
        try:
            ended = await self._result()
        except asyncio.CancelledError:
            ended = LOST
        return await completed(self._finish(ended))

    async def cancel(self) -> None:
        """End the command soon, with all its processes."""
        self._is_cancelled = True
        self._preparing.abort()
        if self._run is not None:
            await self._run.cancel()

    def _not_run(self) -> Ended:
        """Return how a command has ended that was cancelled before it ran."""
        return LOST if self._is_lost else Ended(Outcome.CANCELLED)

    async def _result(self) -> Ended:
        """Run the command and take its changes; a failure is reported, and the result is "lost"."""
        try:
            return await (self._run_in_workspace() if self._session is None else self._run_in_session(self._session))
        except Exception as error:  # noqa: BLE001 - the exec has to end in any case
            self._tools.report_failure(self._started.id, error)
            return LOST

    async def _run_in_workspace(self) -> Ended:
        tools, container_id = self._tools, self._started.container_id
        async with opened_workspace(tools.folder / self._started.id) as workspace:
            copying = tools.layout.lay_out(self._tenant, container_id, workspace.files, self._harvested)
            before = await self._preparing.run(copying)
            if before is None or self._is_cancelled:
                return self._not_run()
            command = self._sandboxed(workspace)
            if not self._domains:
                result = await self._run_command(tools.sandbox.run(command))
            else:
                proxy = workspace.files.parent / PROXY_NAME
                with tools.egress.listen(proxy) as listener:
                    running = tools.sandbox.run(replace(command, proxy=proxy))
                    result = await self._run_with_network(running, listener)
            result = self._lost_with_lease(result)
            if _is_to_be_stored(result):
                await tools.harvester.collect(command, before, self._harvested)
        if self._command.reports:
            self._note_displays(read_report(result.report))
        return self._ended(result)

    async def _run_in_session(self, session: Session) -> Ended:
        tools = self._tools
        listen = tools.egress.listen if self._domains else None
        preparing = session.prepare(
            tools.sandbox, tools.layout, self._command, self._limits(), skipped=self._harvested, listen=listen
        )
        program = await self._preparing.run(preparing)
        if program is None:
            return self._not_run()
        self._is_prepared = True
        if session.listener is None:
            result = await self._run_command(session.run(program))
        else:
            result = await self._run_with_network(session.run(program), session.listener)
        await session.settle(program, dict.fromkeys(result.blocked, IN_THE_WAY), self._harvested)
        result = self._lost_with_lease(result)
        if _is_to_be_stored(result):
            await tools.harvester.take(session.harvest(program), session.files, self._harvested)
        report = read_report(result.report)
        self._note_displays(report)
        if result.outcome is Outcome.EXIT and result.exit_code is None:
            result = result._replace(exit_code=report.exit_code)
        return self._ended(result)

    def _lost_with_lease(self, result: SandboxResult) -> SandboxResult:
        """Return the result of a command; without its lease it is lost, however the command ended."""
        return result._replace(outcome=Outcome.LOST, exit_code=None) if self._is_lost else result

    def _note_displays(self, report: ProgramReport) -> None:
        self._harvested.displayed = [f"{ROOT}/{name}" for name in report.displayed]

    def _ended(self, result: SandboxResult) -> Ended:
        changes = self._harvested.changes
        return Ended(result.outcome, result.exit_code, result.truncated, result.seconds, changes)

    def _sandboxed(self, workspace: Workspace) -> SandboxCommand:
        return SandboxCommand(
            self._command.argv,
            workspace.files,
            workspace.changes,
            self._limits(),
            cwd=self._command.cwd,
            env=self._command.env,
            stdin=self._command.stdin,
            reports=self._command.reports,
        )

    async def _run_command(self, running: AbstractAsyncContextManager[SandboxRun]) -> SandboxResult:
        async with running as run:
            self._run = run
            if self._is_cancelled:
                await run.cancel()
            async for output in run.output():
                self.transcript.write(output)
            result = await run.result()
        self._run = None
        return result

    async def _run_with_network(
        self, running: AbstractAsyncContextManager[SandboxRun], listener: socket
    ) -> SandboxResult:
        """Do the same with a way to the domains through a proxy."""
        async with self._tools.egress.opened(listener, self._domains, tenant=self._tenant) as self._refusals:
            return await self._run_command(running)

    def _limits(self) -> SandboxLimits:
        limits = self._tools.limits
        return SandboxLimits(
            memory_bytes=self._memory_bytes,
            seconds=self._command.timeout_seconds,
            cpu_seconds=ceil(self._command.timeout_seconds) + 1,
            processes=limits.processes,
            output_bytes=self._command.output_bytes,
            disk_bytes=limits.disk_bytes,
            files=limits.files,
        )

    async def _finish(self, ended: Ended) -> Exec:
        """Store the result; without the changes if they do not fit. Return the result as it is stored.

        If the store fails, it is tried as long as the lease lasts.
        """
        self.transcript.close()
        may_be_stored = False
        for number in range(1, 1 + (FINISH_TRIES if ended.outcome is Outcome.LOST else LEASE_SECONDS)):
            try:
                return await self._store(ended)
            except InvalidRequestError:  # a quota would be exceeded
                ended = ended._replace(outcome=Outcome.DISK, exit_code=None, changes=NO_CHANGES)
            except NotFoundError:  # the container was deleted, or the lease is over
                if not may_be_stored:
                    await self._tools.content.delete(self._harvested.blobs)
                    await self._count_lost(ended)
                break
            except StorageError as error:
                if not may_be_stored:
                    self._tools.report_failure(self._started.id, error)
                may_be_stored = True  # then rows refer to the blobs; otherwise a sweep removes them
                if number >= FINISH_TRIES and monotonic() >= self._held_until:
                    break
                await asyncio.sleep(LOOK_SECONDS)
        found = await self._found() if may_be_stored else None
        return found or self._exec(LOST._replace(seconds=ended.seconds))

    async def _found(self) -> Exec | None:
        """Return the result that the store has, though it did not answer that it was stored; None if it has none."""
        started = self._started
        with suppress(NotFoundError, StorageError):
            found = await self._tools.store.get(self._tenant, started.container_id, started.id)
            if found.status == "completed":
                return found
        return None

    async def _count_lost(self, ended: Ended) -> None:
        """Have the time counted that the command took: deleting its container does not undo that."""
        with suppress(StorageError):
            await self._tools.store.count_lost(
                self._tenant,
                self._started.container_id,
                key=self._caller.name,
                milliseconds=int(ended.seconds * 1000),
            )

    async def _store(self, ended: Ended) -> Exec:
        tools, exec_ = self._tools, self._exec(ended)
        stored = await tools.store.finish(
            self._tenant,
            exec_,
            process=tools.process,
            output=self.transcript.output,
            changes=ended.changes,
            quotas=tools.quotas,
        )
        if self._session is not None and ended.outcome not in {Outcome.LOST, Outcome.DISK}:
            if self._is_prepared:
                self._session.keep(ended.changes)
            self._is_kept = True
        unused = stored.unreferenced if ended.changes.written else [*stored.unreferenced, *self._harvested.blobs]
        await tools.content.delete(unused)
        self.stored = with_files(exec_, ended.changes, stored)
        return self.stored

    def _exec(self, ended: Ended) -> Exec:
        exec_ = Exec()
        exec_.CopyFrom(self._started)
        exec_.status = "completed"
        exec_.outcome.CopyFrom(ExecOutcome(type=ended.outcome, exit_code=ended.exit_code))
        exec_.truncated = ended.is_truncated or self.transcript.is_truncated
        exec_.duration_ms = int(ended.seconds * 1000)
        exec_.skipped_files.extend(self._harvested.skipped)
        exec_.network_refusals.extend(self._refusals)
        return exec_

    async def _watch(self) -> None:
        """Hold the lease and store output as it comes; end the command if the lease is lost or it was cancelled."""
        renewed, asked = 0.0, monotonic()
        while not self._is_lost:
            due = min(asked + self._tools.look_seconds, self._held_until)  # at once after an answer that came late
            await asyncio.sleep(max(0.0, due - monotonic()))
            is_held, is_cancelled, asked = True, False, monotonic()
            is_due = asked - renewed >= RENEW_SECONDS
            ask: Callable[[ExecOwner], Awaitable[tuple[bool, bool]]]
            ask = self._tools.store.renew if is_due else self._tools.store.signals
            patience = max(self._held_until - asked, LAST_TRY_SECONDS)  # a store may hang for longer
            try:
                async with asyncio.timeout(patience):
                    is_held, is_cancelled = await ask(self._owner)
                    if is_due:
                        renewed, self._held_until = asked, _held_until(asked)
                    await self._append()
            except (StorageError, TimeoutError):  # the lease lasts for some more tries
                is_held = is_held and monotonic() < self._held_until
            self._is_lost = not is_held
            if (self._is_lost or is_cancelled) and not self._is_cancelled:
                await self.cancel()

    async def _append(self) -> None:
        """Store the output that is new."""
        new = self.transcript.output[self._appended :]
        if new:
            await self._tools.store.append(self._owner, new)
            self._appended += len(new)


def _held_until(asked: float) -> float:
    """Return until when a lease is surely held that the store was asked for at some time."""
    return asked + LEASE_SECONDS - MARGIN_SECONDS


def _is_to_be_stored(result: SandboxResult) -> bool:
    # What exceeds the limit of the disk is not complete, so nothing of it is stored.
    return result.outcome not in {Outcome.LOST, Outcome.DISK}


async def ended_within(executions: Mapping[str, Execution], seconds: float, *, begun: Awaitable[None]) -> None:
    """Wait until those that are about to begin have `begun`, and all have ended, for some seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await begun
            for execution in list(executions.values()):
                await execution.has_ended.wait()
