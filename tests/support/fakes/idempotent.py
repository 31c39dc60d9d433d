"""An idempotent backend on a real database, callers with keys, and a backend that gets into trouble."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from berth.adapters.sql.idempotency import SqlIdempotency
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller, Options
from berth.core.idempotency.backend import IdempotentBackend
from berth.core.idempotency.leases import Leases
from berth.core.ports.backend import Backend, BeforeCommit, Upload, nothing
from berth.core.ports.file_backend import FileBackend, FileUpload
from berth.core.ports.wrapper import BackendWrapper, FileBackendWrapper
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import SequentialIds
from support.fakes.uploads import GivenUpload
from support.servers.hosted import Kept

Stored = TypeVar("Stored", ContainerFile, File)
READ, STORED = "when it was read", "when it was stored"
KEEP_SECONDS = 24 * 3600
BOX = CreateContainerRequest(name="box", provider=Provider.PROVIDER_OLLAMA)


def with_key(key: str, tenant: str = "ours") -> Caller:
    """Return a caller of `tenant` whose requests carry a key."""
    return Caller(tenant, "first", options=Options(idempotency_key=key))


def records_of(kept: Kept, prefix: str = "p", sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> Leases:
    """Return the claims of a process whose ids begin with `prefix`."""
    ids = SequentialIds()
    return Leases(
        SqlIdempotency(kept.database),
        keep_seconds=KEEP_SECONDS,
        now=kept.clock,
        new_id=lambda _, digits: ids(prefix, digits),
        background=BackgroundTasks(),
        sleep=sleep,
    )


def once(kept: Kept, backend: Backend | None = None, *, prefix: str = "p", resumes: bool = True) -> IdempotentBackend:
    """Return a process's idempotent form of `backend`, or else of that of `kept`."""
    return IdempotentBackend(backend or kept.backend, records_of(kept, prefix), resumes=resumes)


KEYED = with_key("key")


def upload(container_id: str, *chunks: bytes, filename: str = "a", file_path: str | None = None) -> GivenUpload:
    """Return a file of `chunks` on its way into a container."""
    return GivenUpload(container_id, chunks, filename=filename, file_path=file_path)


class Troubled(BackendWrapper):
    """A backend that waits for `go`, fails with `error`, and dies before or behind the work, as it is told."""

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.go = asyncio.Event()
        self.go.set()
        self.begun = 0
        self.attempts: list[str | None] = []
        self.error: BaseException | None = None
        self.error_behind: BaseException | None = None

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container, if all goes well."""
        self.begun += 1
        self.attempts.append(caller.options.attempt)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        container = await super().create_container(caller, request)
        if self.error_behind is not None:
            raise self.error_behind
        return container

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a file, if all goes well."""
        self.begun += 1
        file = await super().create_container_file(caller, upload, before_commit=before_commit)
        if self.error_behind is not None:
            raise self.error_behind
        return file


class Died(BaseException):
    """The process ended."""


class Dying(BackendWrapper):
    """A backend whose process dies over each upload, if it is told when: READ or STORED."""

    def __init__(self, backend: Backend, when: str | None) -> None:
        super().__init__(backend)
        self._when = when

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a file, unless the process dies before."""
        store = super().create_container_file(caller, upload, before_commit=before_commit)
        return await _dying(store, upload, self._when, before_commit)


class DyingFiles(FileBackendWrapper):
    """A file backend whose process dies over each upload, if it is told when: READ or STORED."""

    def __init__(self, backend: FileBackend, when: str | None) -> None:
        super().__init__(backend)
        self._when = when

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Store a file, unless the process dies before."""
        store = super().create_file(caller, upload, before_commit=before_commit)
        return await _dying(store, upload, self._when, before_commit)


async def _dying(
    store: Coroutine[Any, Any, Stored], upload: Upload | FileUpload, when: str | None, before_commit: BeforeCommit
) -> Stored:
    if when == READ:
        store.close()
        async for _ in upload.chunks():
            pass
        await before_commit()
        raise Died
    stored = await store
    if when == STORED:
        raise Died
    return stored
