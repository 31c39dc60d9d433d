"""Wrappers of any Backend and FileBackend that execute creates with an idempotency key only once."""

from collections.abc import Awaitable, Callable
from functools import partial

from berth.core.caller import Caller
from berth.core.idempotency.fingerprints import HashedFile, HashedUpload, KnownContent
from berth.core.idempotency.leases import Leases
from berth.core.idempotency.protocol import IdempotencyProtocol, KeyedCreate
from berth.core.ports.backend import Backend, BeforeCommit, Upload, nothing
from berth.core.ports.file_backend import FileBackend, FileUpload
from berth.core.ports.wrapper import BackendWrapper, FileBackendWrapper
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import RetrieveContainerFileRequest
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import CreateContainerRequest, RetrieveContainerRequest
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import RetrieveFileRequest
from berth.v1.provider_pb2 import Provider


class IdempotentBackend(BackendWrapper):
    """Wraps `backend` and executes creates with an idempotency key once; see IdempotencyProtocol."""

    def __init__(self, backend: Backend, leases: Leases, *, resumes: bool) -> None:
        super().__init__(backend)
        self._protocol = IdempotencyProtocol(leases, resumes=resumes)

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Create a container; see Backend. With a key, this is completed even if the caller is cancelled."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_container(caller, request)

        async def find(attempt: str) -> Callable[[], Awaitable[Container]] | None:
            found = await self._protocol.store.find_container(caller.tenant, attempt)
            if found is None:
                return None
            return partial(self._backend.retrieve_container, caller, RetrieveContainerRequest(container_id=found))

        create = KeyedCreate(
            caller,
            key,
            operation="container_create",
            kind=Container,
            content=KnownContent(request.SerializeToString(deterministic=True)),
            find=find,
            create=lambda caller, _: self._backend.create_container(caller, request),
        )
        return await self._protocol.run_to_end(create)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Store a container file; see Backend."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_container_file(caller, upload, before_commit=before_commit)
        hashed = HashedUpload(upload)

        async def find(attempt: str) -> Callable[[], Awaitable[ContainerFile]] | None:
            found = await self._protocol.store.find_container_file(caller.tenant, attempt)
            if found is None:
                return None
            request = RetrieveContainerFileRequest(container_id=found[0], file_id=found[1])
            return partial(self._backend.retrieve_container_file, caller, request)

        create = KeyedCreate(
            caller,
            key,
            operation=f"container_file_create {upload.container_id}",
            kind=ContainerFile,
            content=hashed,
            find=find,
            create=lambda caller, commit: self._backend.create_container_file(caller, hashed, before_commit=commit),
        )
        return await self._protocol.run(create)


class IdempotentFiles(FileBackendWrapper):
    """Wraps `backend` and executes creates with an idempotency key once; see IdempotencyProtocol."""

    def __init__(self, backend: FileBackend, leases: Leases, *, resumes: bool) -> None:
        super().__init__(backend)
        self._protocol = IdempotencyProtocol(leases, resumes=resumes)

    async def create_file(self, caller: Caller, upload: FileUpload, *, before_commit: BeforeCommit = nothing) -> File:
        """Store a file; see FileBackend."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_file(caller, upload, before_commit=before_commit)
        hashed = HashedFile(upload)

        async def find(attempt: str) -> Callable[[], Awaitable[File]] | None:
            found = await self._protocol.store.find_file(caller.tenant, attempt)
            return partial(self._backend.retrieve_file, caller, RetrieveFileRequest(file_id=found)) if found else None

        create = KeyedCreate(
            caller,
            key,
            operation=f"file_create {Provider.Name(upload.provider)}",
            kind=File,
            content=hashed,
            find=find,
            create=lambda caller, commit: self._backend.create_file(caller, hashed, before_commit=commit),
        )
        return await self._protocol.run(create)
