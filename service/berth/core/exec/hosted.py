"""HostedExecs: the ExecBackend of hosted containers. Commands run in the background, independent of their callers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import (
    ContainerExpiredError,
    ExecUnsupportedError,
    InvalidRequestError,
    NotFoundError,
    StoppingError,
)
from berth.core.exec.availability import Availability
from berth.core.exec.backend import without_events
from berth.core.exec.capacity import ExecCapacity
from berth.core.exec.execution import Execution, Place, Report, Tools, ended_within
from berth.core.exec.requests import Command, ExecLimits, read_command
from berth.core.exec.sandbox import NO_SESSIONS, Outcome, Stream
from berth.core.exec.sessions.session import Session, SessionKey
from berth.core.exec.sessions.sessions import Sessions
from berth.core.exec.store import ExecOutput, ExecStore, require_idle
from berth.core.exec.transcript import KEEP_ALIVE_SECONDS, MAX_SEQUENCE, STARTED, ended_event, output_event
from berth.core.lifetime import expires_at, status_at
from berth.core.observation.spans import NO_TRACER, Tracer
from berth.core.pagination import page_of, read_pagination
from berth.core.ports.container_store import ContainerRecord, ContainerStore
from berth.core.providers import provider_name
from berth.core.routing.container_ownership import ContainerOwnership
from berth.core.validation import check_integer, missing
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    FollowContainerExecRequest,
    ListContainerExecsRequest,
    ListContainerExecsResponse,
    RetrieveContainerExecRequest,
    StreamContainerExecRequest,
)
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, NetworkPolicyType
from berth.v1.exec_pb2 import Exec, ExecEvent, ExecOutcome

EXEC_ID = ("exec_", 32)
POLL_SECONDS = 0.5
"""How often the store is asked about a command that another process runs."""
GIBIBYTE = 1024**3
AUDITED_REFUSALS = 10
"""How many of the refused hosts the audit trail names."""
RUNNING, COMPLETED = "running", "completed"
NamesExec = RetrieveContainerExecRequest | FollowContainerExecRequest | CancelContainerExecRequest


@dataclass(frozen=True, slots=True)
class ExecReports:
    """Where is reported what commands do: to the audit trail, their outcome and seconds to the metrics, and to traces.

    `began` is called at the start of a command, and `ended` at its end; `waiting` if the service has to wait for some
    at its own end, with their number.
    """

    audit: Report
    ended: Callable[[str, float], None]
    began: Callable[[], None] = lambda: None
    tracer: Tracer = NO_TRACER
    waiting: Callable[[int], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class ExecRules:
    """What decides about a command: whether commands can be run, their limits, and the memory that they share.

    `sessions` have theirs from the same `capacity`.
    """

    availability: Availability
    limits: ExecLimits
    capacity: ExecCapacity
    sessions: Sessions


class HostedExecs:
    """An ExecBackend on an ExecStore and a sandbox.

    `tools` are None if there is no sandbox, as `rules` say. `now` and `new_id` are as in HostedBackend.
    """

    def __init__(
        self,
        *,
        containers: ContainerStore,
        store: ExecStore,
        rules: ExecRules,
        tools: Tools | None,
        reports: ExecReports,
        now: Callable[[], int],
        new_id: Callable[[str, int], str],
        background: BackgroundTasks,
    ) -> None:
        self._containers = containers
        self._store = store
        self._rules = rules
        self._tools = tools
        self._reports = reports
        self._now = now
        self._new_id = new_id
        self._background = background
        self._ownership = ContainerOwnership(containers, now)
        self._sessions = rules.sessions
        self._running: dict[str, Execution] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def create_container_exec(self, caller: Caller, request: CreateContainerExecRequest) -> Exec:
        """Start a command; see ExecBackend."""
        return await self._background.finish(self._start(caller, request, is_awaited=not request.background))

    async def _start(self, caller: Caller, request: CreateContainerExecRequest, *, is_awaited: bool) -> Exec:
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        command = read_command(request, self._rules.limits)
        if status_at(self._now(), expires_at=expires_at(record.container)) == CONTAINER_STATUS_EXPIRED:
            raise ContainerExpiredError
        tools = await self._require_available(caller, record)
        place = await self._reserve(caller, record, tools, command)
        try:
            started = await self._add(caller, record, tools, place.session, is_awaited=is_awaited)
        except BaseException:
            await place.release(True)
            raise
        execution = Execution(
            tools, caller, started, command, place=place, memory_bytes=_memory_bytes(record), domains=_domains(record)
        )
        self._running[started.id] = execution
        task = asyncio.create_task(self._execute(execution, _facts(caller, record, started), command))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return _with_provider(started, record)

    async def stream_container_exec(self, caller: Caller, request: StreamContainerExecRequest) -> Exec:
        """Start a command; see ExecBackend."""
        return await self._background.finish(self._start(caller, without_events(request), is_awaited=False))

    async def retrieve_container_exec(
        self, caller: Caller, request: RetrieveContainerExecRequest, *, is_awaited: bool = False
    ) -> Exec:
        """Return an exec; see ExecBackend."""
        record = await self._record(caller, request)
        live = self._live(request)
        if is_awaited:
            if live is not None:
                await live.has_ended.wait()
                if live.stored is not None:  # so the store need not be asked for what it was just given
                    return _with_output(live.stored, live.transcript.output, record)
            await self._completed(caller.tenant, request)
        exec_ = await self._store.get(caller.tenant, request.container_id, request.exec_id)
        output = await self._store.output(caller.tenant, request.container_id, request.exec_id)
        if exec_.status == RUNNING and live is not None:
            output = live.transcript.output
        return _with_output(exec_, output, record)

    async def list_container_execs(
        self, caller: Caller, request: ListContainerExecsRequest
    ) -> ListContainerExecsResponse:
        """Return a page of execs; see ExecBackend."""
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        page = await self._store.list(caller.tenant, request.container_id, read_pagination(request))
        response = page_of(ListContainerExecsResponse, page.data, has_more=page.has_more)
        response.extra_fields.provider = record.provider
        return response

    async def follow_container_exec(
        self, caller: Caller, request: FollowContainerExecRequest
    ) -> AsyncIterator[ExecEvent]:
        """Return the events of an exec; see ExecBackend."""
        await self._record(caller, request)
        after = check_integer(request.after, "after", minimum=0, maximum=MAX_SEQUENCE)
        live = self._live(request)
        exec_ = await self._store.get(caller.tenant, request.container_id, request.exec_id)
        if live is not None:
            return live.transcript.follow(after)
        return self._stored_events(caller.tenant, exec_, after)

    async def cancel_container_exec(self, caller: Caller, request: CancelContainerExecRequest) -> Exec:
        """End a command; see ExecBackend."""
        await self._record(caller, request)
        await self._store.cancel(caller.tenant, request.container_id, request.exec_id)
        if live := self._live(request):
            await live.cancel()
        asked = RetrieveContainerExecRequest(container_id=request.container_id, exec_id=request.exec_id)
        return await self.retrieve_container_exec(caller, asked)

    async def drain(self, seconds: float) -> None:
        """Accept no more commands, and wait some seconds for those that are there; the others become "lost"."""
        self._is_stopping = True
        if self._running:
            self._reports.waiting(len(self._running))
        await ended_within(self._running, seconds, begun=self._background.drain(seconds))
        for task in self._tasks:
            task.cancel()
        await self._sessions.close()
        if self._tasks:
            await asyncio.wait(self._tasks)
            await self._sessions.close()

    async def _record(self, caller: Caller, request: NamesExec) -> ContainerRecord:
        """Return the container of a request that names an exec."""
        record = await self._ownership.container(caller, request.container_id, provider=request.provider)
        if not request.exec_id:
            raise missing("exec_id")
        return record

    def _live(self, request: NamesExec) -> Execution | None:
        """Return the execution that a request names, if it runs in this process."""
        live = self._running.get(request.exec_id)
        return live if live is not None and live.container_id == request.container_id else None

    async def _require_available(self, caller: Caller, record: ContainerRecord) -> Tools:
        """Return the tools. ExecUnsupportedError if commands cannot be run, or not in this container.

        StoppingError if the service stops.
        """
        reason = await self._rules.availability.refusal()
        if reason is not None or self._tools is None:
            raise ExecUnsupportedError(reason or "there is no sandbox")
        if self._is_stopping:
            raise StoppingError
        if await self._containers.get_domain_secrets(caller.tenant, record.container.id):
            raise ExecUnsupportedError("the container has domain_secrets, which cannot be filled in safely yet")
        return self._tools

    async def _reserve(self, caller: Caller, record: ContainerRecord, tools: Tools, command: Command) -> Place:
        """Return the session or the memory for a command. RateLimitError if there is none; see Sessions.take."""
        memory_bytes, capacity = _memory_bytes(record), self._rules.capacity
        key = None if command.session is None else SessionKey(caller.tenant, record.container.id, command.session)
        if not self._sessions.has_room(key, memory_bytes, caller.tenant):
            await require_idle(self._store, caller.tenant, record.container.id)  # before a session ends for nothing
        if key is not None:
            if not tools.sandbox.has_sessions:
                raise ExecUnsupportedError(NO_SESSIONS)
            session = await self._sessions.take(key, memory_bytes)
            return Place(session, lambda is_kept: self._sessions.release(session, is_kept=is_kept), monotonic())
        await self._sessions.make_room(memory_bytes, caller.tenant)
        await capacity.take(memory_bytes, caller.tenant)

        async def give_back(is_kept: bool) -> None:  # noqa: ARG001, FBT001 - nothing can be kept
            capacity.give(memory_bytes, caller.tenant)

        return Place(None, give_back, monotonic())

    async def _add(
        self, caller: Caller, record: ContainerRecord, tools: Tools, session: Session | None, *, is_awaited: bool
    ) -> Exec:
        started = Exec(
            id=self._new_id(*EXEC_ID),
            object="container.exec",
            container_id=record.container.id,
            status=RUNNING,
            isolation=tools.sandbox.isolation,
            created_at=self._now(),
            session=None if session is None else session.key.name,
        )
        attempt = caller.options.attempt
        before = await self._store.start(
            caller.tenant,
            started,
            process=tools.process,
            attempt=attempt,
            key=caller.name,
            is_awaited=is_awaited,
        )
        if session is not None:
            started.session_restarted = not await session.follow(before, started.id)
        return started

    async def _execute(self, execution: Execution, facts: Mapping[str, object], command: Command) -> None:
        self._reports.audit("exec.started", {**facts, "command_sha256": command.sha256})
        exec_ = await self._traced(execution, str(facts["id"]))
        outcome = exec_.outcome
        code = outcome.exit_code if outcome.HasField("exit_code") else None
        ended = {**facts, "outcome": outcome.type, "exit_code": code}
        if exec_.network_refusals:
            ended["network_refusals"] = list(exec_.network_refusals[:AUDITED_REFUSALS])
        self._reports.audit("exec.ended", ended)

    async def _traced(self, execution: Execution, exec_id: str) -> Exec:
        """Execute a command, as a part of the trace of the call that has started it; count it."""
        ended = Exec(outcome=ExecOutcome(type=Outcome.LOST))
        self._reports.began()
        try:
            with self._reports.tracer.part("sandbox run", {}) as span:
                ended = await execution.execute()
                span.set("berth.exec.outcome", ended.outcome.type)
                if ended.outcome.HasField("exit_code"):
                    span.set("process.exit.code", ended.outcome.exit_code)
        finally:
            self._running.pop(exec_id, None)
            self._reports.ended(ended.outcome.type, ended.duration_ms / 1000)
        return ended

    async def _completed(self, tenant: str, request: RetrieveContainerExecRequest) -> None:
        """Wait until an exec is completed, which another process may run: no event of this one can tell."""
        while (await self._store.get(tenant, request.container_id, request.exec_id)).status == RUNNING:  # noqa: ASYNC110
            await asyncio.sleep(POLL_SECONDS)

    async def _stored_events(self, tenant: str, exec_: Exec, after: int) -> AsyncIterator[ExecEvent]:
        """Yield the events of an exec as they are stored, by another process or before."""
        named = (tenant, exec_.container_id, exec_.id)
        last, silent = max(after, STARTED), 0.0
        if after < STARTED:
            yield ExecEvent(sequence=STARTED, type="started", exec=_as_started(exec_))
        while True:
            try:
                exec_ = await self._store.get(*named)
            except NotFoundError:  # the container was deleted
                yield ExecEvent(sequence=min(last + 1, MAX_SEQUENCE), type="ended", exec=_as_lost(exec_))
                return
            for output in await self._store.output(*named, after=last):
                yield output_event(output)
                last, silent = output.sequence, 0.0
            if exec_.status == COMPLETED:
                yield ended_event(exec_, await self._store.output(*named), last)
                return
            await asyncio.sleep(POLL_SECONDS)
            silent += POLL_SECONDS
            if silent >= KEEP_ALIVE_SECONDS:
                yield ExecEvent(sequence=last, type="keep_alive")
                silent = 0.0


def _memory_bytes(record: ContainerRecord) -> int:
    """Return the memory limit of a container in bytes; it is text such as "4g"."""
    text = record.container.memory_limit
    if not text.removesuffix("g").isdigit():
        raise InvalidRequestError(f"The memory_limit '{text}' is not known.", param="memory_limit")
    return int(text.removesuffix("g")) * GIBIBYTE


def _domains(record: ContainerRecord) -> Sequence[str]:
    """Return the domains that the commands of a container can reach."""
    policy = record.container.network_policy
    is_allowlist = policy.type == NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST
    return tuple(policy.allowed_domains) if is_allowlist else ()


def _facts(caller: Caller, record: ContainerRecord, started: Exec) -> Mapping[str, object]:
    """Return what the audit trail says of each event of an exec."""
    return {
        "id": started.id,
        "container_id": started.container_id,
        "tenant": caller.tenant,
        "caller": caller.name,
        "source": caller.origin.source,
        "request_id": caller.origin.request_id,
        "provider": provider_name(record.provider),
    }


def _as_started(exec_: Exec) -> Exec:
    """Return an exec as it was when it started."""
    return Exec(
        id=exec_.id,
        object=exec_.object,
        container_id=exec_.container_id,
        status=RUNNING,
        isolation=exec_.isolation,
        created_at=exec_.created_at,
        session=exec_.session if exec_.HasField("session") else None,
        session_restarted=exec_.session_restarted if exec_.HasField("session_restarted") else None,
    )


def _with_output(exec_: Exec, output: Sequence[ExecOutput], record: ContainerRecord) -> Exec:
    """Return a copy of an exec with its output and the provider."""
    answer = _with_provider(exec_, record)
    answer.stdout = "".join(part.text for part in output if part.stream is Stream.STDOUT)
    answer.stderr = "".join(part.text for part in output if part.stream is Stream.STDERR)
    return answer


def _as_lost(exec_: Exec) -> Exec:
    """Return the exec of a container that was deleted, as it ended."""
    if exec_.status == COMPLETED:
        return exec_
    lost = _as_started(exec_)
    lost.status = COMPLETED
    lost.outcome.type = Outcome.LOST
    return lost


def _with_provider(exec_: Exec, record: ContainerRecord) -> Exec:
    """Return a copy of an exec with the provider."""
    answer = Exec()
    answer.CopyFrom(exec_)
    answer.extra_fields.provider = record.provider
    return answer
