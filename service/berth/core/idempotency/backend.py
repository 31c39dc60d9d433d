"""Idempotency: wrappers of any Backend and FileBackend that do a create with a key once; see `once`."""

from berth.core.background import Completion
from berth.core.caller import Caller
from berth.core.idempotency.fingerprints import ObservedFile, ObservedUpload
from berth.core.idempotency.leases import Claims
from berth.core.idempotency.protocol import Once
from berth.core.idempotency.request import KeyedCreate, Known
from berth.core.ports.backend import Backend, Upload
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
    """A Backend that does what `backend` does, and a create with an idempotency key once; `resumes` is as in Once."""

    def __init__(self, backend: Backend, claims: Claims, *, resumes: bool) -> None:
        super().__init__(backend)
        self._once = Once(claims, resumes=resumes)
        self._completion = Completion()

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container; see Backend. With a key it is seen through, also if the caller goes away."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_container(caller, request)
        return await self._completion.of(self._create_once(caller, request, key))

    async def create_container_file(self, caller: Caller, upload: Upload) -> ContainerFile:
        """Store a file; see Backend."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_container_file(caller, upload)
        observed = ObservedUpload(upload)

        async def find(attempt: str) -> RetrieveContainerFileRequest | None:
            found = await self._once.store.find_container_file(caller.tenant, attempt)
            return found and RetrieveContainerFileRequest(container_id=found[0], file_id=found[1])

        create = KeyedCreate(
            caller,
            key,
            operation=f"container_file_create {upload.container_id}",
            kind=ContainerFile,
            asked=observed,
            find=find,
            retrieve=lambda ask: self._backend.retrieve_container_file(caller, ask),
            create=lambda caller: self._backend.create_container_file(caller, observed),
        )
        return await self._once.do(create)

    async def _create_once(self, caller: Caller, request: CreateContainerRequest, key: str) -> Container:
        async def find(attempt: str) -> RetrieveContainerRequest | None:
            found = await self._once.store.find_container(caller.tenant, attempt)
            return RetrieveContainerRequest(container_id=found) if found else None

        create = KeyedCreate(
            caller,
            key,
            operation="container_create",
            kind=Container,
            asked=Known(request.SerializeToString(deterministic=True)),
            find=find,
            retrieve=lambda ask: self._backend.retrieve_container(caller, ask),
            create=lambda caller: self._backend.create_container(caller, request),
        )
        return await self._once.do(create)


class IdempotentFiles(FileBackendWrapper):
    """A FileBackend that does what `backend` does, and a create with an idempotency key once; see Once."""

    def __init__(self, backend: FileBackend, claims: Claims, *, resumes: bool) -> None:
        super().__init__(backend)
        self._once = Once(claims, resumes=resumes)

    async def create_file(self, caller: Caller, upload: FileUpload) -> File:
        """Store a file; see FileBackend."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_file(caller, upload)
        observed = ObservedFile(upload)

        async def find(attempt: str) -> RetrieveFileRequest | None:
            found = await self._once.store.find_file(caller.tenant, attempt)
            return RetrieveFileRequest(file_id=found) if found else None

        create = KeyedCreate(
            caller,
            key,
            operation=f"file_create {Provider.Name(upload.provider)}",
            kind=File,
            asked=observed,
            find=find,
            retrieve=lambda ask: self._backend.retrieve_file(caller, ask),
            create=lambda caller: self._backend.create_file(caller, observed),
        )
        return await self._once.do(create)
