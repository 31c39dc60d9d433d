"""HostedExecs on real stores and the fake sandbox, in the tests' own process."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from berth.adapters.sql.exec.store import SqlExecs
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.exec.availability import Availability, KernelRule
from berth.core.exec.capacity import ExecCapacity
from berth.core.exec.execution import Tools
from berth.core.exec.harvest import Harvester
from berth.core.exec.hosted import GIBIBYTE, ExecReports, ExecRules, HostedExecs
from berth.core.exec.requests import ExecLimits
from berth.core.exec.sessions.sessions import Sessions, living_in
from berth.core.exec.workspace import Layout
from berth.core.hosted.content import ContentStore
from berth.v1.container_exec_service_pb2 import (
    CreateContainerExecRequest,
    FollowContainerExecRequest,
    RetrieveContainerExecRequest,
)
from berth.v1.container_file_service_pb2 import ListContainerFilesRequest, RetrieveContainerFileContentRequest
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.exec_pb2 import Exec, ExecEvent
from berth.v1.provider_pb2 import Provider
from support.fakes.sandbox import FakeEgress, FakeSandbox, fake_harvest
from support.fakes.stores import SequentialIds
from support.fakes.uploads import GivenUpload
from support.servers.hosted import LIMITS, QUOTAS, Kept

PROCESS = "this process"
OURS = Caller("ours", "first")
THEIRS = Caller("theirs", "second")


@dataclass
class ExecWorld:
    """HostedExecs, its store and its sandbox, and what it reported."""

    execs: HostedExecs
    store: SqlExecs
    sandbox: FakeSandbox
    folder: Path
    audit: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    async def run(self, caller: Caller, request: CreateContainerExecRequest) -> Exec:
        """Run a command and return its result."""
        started = await self.execs.create_container_exec(caller, request)
        asked = RetrieveContainerExecRequest(container_id=started.container_id, exec_id=started.id)
        return await self.execs.retrieve_container_exec(caller, asked, is_awaited=True)


async def one_tenant() -> int:
    """Return 1."""
    return 1


def exec_world(
    kept: Kept,
    *,
    capacity_bytes: int = 2 * GIBIBYTE,
    tenant_bytes: int | None = None,
    limits: ExecLimits | None = None,
    tenants: Callable[[], Awaitable[int | None]] = one_tenant,
    is_public: bool = False,
    is_accepted: bool = False,
    reason: str | None = None,
    process: str = PROCESS,
) -> ExecWorld:
    """Return HostedExecs on the stores of `kept`; there is no sandbox if there is a `reason`."""
    numbers, background = SequentialIds(), BackgroundTasks()

    def new_id(prefix: str, digits: int) -> str:
        """Return an id that neither the backend nor another process makes."""
        return numbers(f"{prefix}{sha256(process.encode()).hexdigest()[:8]}", digits - 8)

    content = ContentStore(
        kept.blobs,
        max_bytes=LIMITS.max_file_bytes,
        new_id=new_id,
        background=background,
        report_damage=lambda _: None,
        report_left=lambda _: None,
    )
    store, sandbox, known = SqlExecs(kept.database, now=kept.clock), FakeSandbox(), limits or ExecLimits()
    folder = kept.folder / f"work of {process}"
    folder.mkdir(exist_ok=True)
    harvester = Harvester(fake_harvest, content, new_id)
    audit: list[tuple[str, Mapping[str, object]]] = []
    outcomes: list[str] = []
    failures: list[BaseException] = []
    tools = Tools(
        store=store,
        sandbox=sandbox,
        egress=FakeEgress(),
        layout=Layout(kept.store, content),
        harvester=harvester,
        content=content,
        quotas=QUOTAS,
        limits=known,
        folder=folder,
        process=process,
        report_failure=lambda _, error: failures.append(error),
        look_seconds=0.02,
    )
    capacity = ExecCapacity(capacity_bytes, tenant_bytes=tenant_bytes, wait_seconds=0.1)
    kernel = KernelRule(is_accepted, is_public, tenants)
    execs = HostedExecs(
        containers=kept.store,
        store=store,
        rules=ExecRules(
            Availability(None if reason else sandbox, reason or "", kernel),
            known,
            capacity,
            Sessions(
                folder,
                capacity,
                maximum=known.sessions,
                idle_seconds=known.session_idle_seconds,
                is_living=living_in(kept.store, kept.clock),
                look_seconds=0.02,
            ),
        ),
        tools=None if reason else tools,
        reports=ExecReports(
            lambda event, facts: audit.append((event, facts)), lambda outcome, _: outcomes.append(outcome)
        ),
        now=kept.clock,
        new_id=new_id,
        background=background,
    )
    return ExecWorld(execs, store, sandbox, folder, audit, outcomes, failures)


async def box(kept: Kept, **fields: Any) -> str:
    """Create a hosted container and return its id."""
    return await box_of(OURS, kept, **fields)


async def box_of(caller: Caller, kept: Kept, **fields: Any) -> str:
    """Create a hosted container of a caller and return its id."""
    request = CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="box", **fields)
    return (await kept.backend.create_container(caller, request)).id


async def upload(kept: Kept, container_id: str, path: str, content: bytes) -> str:
    """Upload a file and return its id."""
    given = GivenUpload(container_id, (content,), file_path=path)
    return (await kept.backend.create_container_file(OURS, given)).id


async def content(kept: Kept, container_id: str, file_id: str) -> bytes:
    """Return the content of a file."""
    asked = RetrieveContainerFileContentRequest(container_id=container_id, file_id=file_id)
    opened = await kept.backend.retrieve_container_file_content(OURS, asked)
    return b"".join([chunk async for chunk in opened.chunks])


async def paths(kept: Kept, container_id: str) -> dict[str, str]:
    """Return the ids of the files of a container, by path below /mnt/data."""
    listed = await kept.backend.list_container_files(OURS, ListContainerFilesRequest(container_id=container_id))
    return {file.path.removeprefix("/mnt/data/"): file.id for file in listed.data}


def shell(container_id: str, command: str, **fields: Any) -> CreateContainerExecRequest:
    """Return the request for a line of the shell."""
    return CreateContainerExecRequest(container_id=container_id, command=command, **fields)


def of(exec_: Exec) -> RetrieveContainerExecRequest:
    """Return the request for an exec."""
    return RetrieveContainerExecRequest(container_id=exec_.container_id, exec_id=exec_.id)


async def has_output(world: ExecWorld, exec_: Exec) -> None:
    """Return once an exec has output; TimeoutError if it has none in time."""
    request = FollowContainerExecRequest(container_id=exec_.container_id, exec_id=exec_.id)
    async with asyncio.timeout(30):
        async for event in await world.execs.follow_container_exec(OURS, request):
            if event.type == "output":
                return


async def events(world: ExecWorld, exec_: Exec, after: int = 0) -> list[ExecEvent]:
    """Return the events of an exec, once it has ended."""
    request = FollowContainerExecRequest(container_id=exec_.container_id, exec_id=exec_.id, after=after)
    return [event async for event in await world.execs.follow_container_exec(OURS, request)]
