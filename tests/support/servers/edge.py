"""PassthroughBackend before a Berth of the tests' own process, which a real Envoy stands before."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.containers import PassthroughBackend
from berth.adapters.upstream.dialects import DIALECTS
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.app.service import build_json_bodies
from berth.core.auth.credentials import Credentials
from berth.core.auth.virtual_keys import VirtualKey
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import NotFoundError
from berth.core.ports.backend import Backend, BeforeCommit, Content, Upload, nothing
from berth.core.ports.file_backend import FileBackend
from berth.core.routing.router import Router
from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings
from berth.rpc.handlers.container_execs import ContainerExecHandlers
from berth.rpc.handlers.container_files import ContainerFileHandlers
from berth.rpc.handlers.containers import ContainerHandlers
from berth.rpc.handlers.files import FileHandlers
from berth.rpc.interceptors.admission import admission
from berth.rpc.interceptors.auth import auth_interceptor
from berth.rpc.interceptors.errors import errors_interceptor
from berth.rpc.interceptors.request import request_interceptor
from berth.rpc.server import Server
from berth.v1 import container_exec_service_pb2, file_service_pb2
from berth.v1 import container_file_service_pb2 as files
from berth.v1 import container_service_pb2 as containers
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.provider_pb2 import Provider
from support.fakes.budgets import unlimited
from support.fakes.files import MemoryFiles
from support.fakes.stores import FixedClock, MemoryStore
from support.servers.background import in_background
from support.servers.berth import transport
from support.servers.hosted import Kept
from support.servers.service import MAX_JSON_BYTES, unhurried

PASSED = (Provider.PROVIDER_OLLAMA, Provider.PROVIDER_GROQ)
HOSTED = Provider.PROVIDER_OLLAMA
KEY = "sk-bf-of-the-gateway"
SILENT = structlog.wrap_logger(None, processors=[structlog.testing.LogCapture()])


@dataclass(frozen=True)
class Edge:
    """An Envoy, and the socket on which it looks for the service."""

    rest: str
    socket: Path


@contextmanager
def running_edge(folder: Path) -> Iterator[Edge]:
    """Run an Envoy; what serves behind it may come and go."""
    socket = folder / "grpc"
    configuration = _behind(
        bootstrap(
            EdgeSettings(
                rest_port=0, admin_socket=ADMIN_SOCKET, access_log_path=None, over_http1=transport() == "http1"
            )
        ),
        socket,
    )
    envoy = running_envoy(
        configuration, folder / "envoy", listener="rest", grace_seconds=1.0, json_log=False, log=SILENT
    )
    with in_background(envoy) as running:
        yield Edge(f"http://127.0.0.1:{running.port}", socket)


def _behind(configuration: Any, socket: Path) -> Any:
    """Return the configuration with every endpoint on a Unix socket."""
    if isinstance(configuration, list):
        return [_behind(item, socket) for item in configuration]
    if not isinstance(configuration, dict):
        return configuration
    if "endpoint" in configuration:
        return configuration | {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {name: _behind(value, socket) for name, value in configuration.items()}


@asynccontextmanager
async def serving_upstream(kept: Kept, edge: Edge) -> AsyncIterator[None]:
    """Serve `kept` behind an Envoy: all that it makes is Ollama's."""
    gateway = Credentials(
        virtual_keys={KEY: VirtualKey(Caller("upstream", "gateway"))}, basic_users={}, now=FixedClock()
    )
    router = Router({HOSTED: kept.backend}, hosted=kept.backend, store=kept.store, default_provider=HOSTED)
    files_router: Router[FileBackend] = Router(
        {HOSTED: kept.files}, hosted=kept.files, store=kept.file_store, resource="file", default_provider=HOSTED
    )
    server = Server(
        {
            containers.DESCRIPTOR.services_by_name["ContainerService"]: ContainerHandlers(),
            files.DESCRIPTOR.services_by_name["ContainerFileService"]: ContainerFileHandlers(
                max_json_bytes=MAX_JSON_BYTES
            ),
            container_exec_service_pb2.DESCRIPTOR.services_by_name["ContainerExecService"]: ContainerExecHandlers(),
            file_service_pb2.DESCRIPTOR.services_by_name["FileService"]: FileHandlers(),
        },
        json_bodies=build_json_bodies(MAX_JSON_BYTES, passes_skills=False),
        admit=admission(router, files_router),
        interceptors=[
            request_interceptor(SILENT, PrometheusMetrics(), new_request_id=lambda: "request"),
            errors_interceptor(SILENT),
            auth_interceptor(gateway, unhurried()),
        ],
    )
    server.bind_for_envoy(str(edge.socket), over_http1=transport() == "http1")
    await server.start()
    try:
        yield
    finally:
        await server.drain(0)


@asynccontextmanager
async def passing_to_upstream(rest: str, clock: FixedClock) -> AsyncIterator[Backend]:
    """Open a PassthroughBackend for each provider, on one store, and what chooses between them."""
    store = MemoryStore()
    settings = UpstreamSettings(base_url=f"{rest}/v1", dialect=DIALECTS["openai"], keys=(UpstreamKey("main", KEY),))
    accounts = [
        UpstreamAccount(settings, provider=provider, now=clock, log=SILENT, metrics=PrometheusMetrics())
        for provider in PASSED
    ]
    files = MemoryFiles(clock)
    backends = {
        account.provider: PassthroughBackend(
            account,
            store=store,
            files=files,
            background=BackgroundTasks(),
            budgets=unlimited(),
        )
        for account in accounts
    }
    try:
        yield Routed(backends, store)
    finally:
        for account in accounts:
            await account.close()


class Routed:
    """Several backends as one: each request goes to the one of its provider, as the handlers see to."""

    def __init__(self, backends: Mapping[Provider, Backend], store: MemoryStore) -> None:
        self._backends, self._store = backends, store

    async def create_container(self, caller: Caller, request: containers.CreateContainerRequest) -> Container:
        return await self._backends[request.provider].create_container(caller, request)

    async def list_containers(
        self, caller: Caller, request: containers.ListContainersRequest
    ) -> containers.ListContainersResponse:
        return await self._backends[request.provider or HOSTED].list_containers(caller, request)

    async def retrieve_container(self, caller: Caller, request: containers.RetrieveContainerRequest) -> Container:
        return await (await self._of(caller, request)).retrieve_container(caller, request)

    async def delete_container(
        self, caller: Caller, request: containers.DeleteContainerRequest
    ) -> containers.DeleteContainerResponse:
        return await (await self._of(caller, request)).delete_container(caller, request)

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        backend = await self._of(caller, upload)
        return await backend.create_container_file(caller, upload, before_commit=before_commit)

    async def list_container_files(
        self, caller: Caller, request: files.ListContainerFilesRequest
    ) -> files.ListContainerFilesResponse:
        return await (await self._of(caller, request)).list_container_files(caller, request)

    async def retrieve_container_file(
        self, caller: Caller, request: files.RetrieveContainerFileRequest
    ) -> ContainerFile:
        return await (await self._of(caller, request)).retrieve_container_file(caller, request)

    async def retrieve_container_file_content(
        self, caller: Caller, request: files.RetrieveContainerFileContentRequest
    ) -> Content:
        return await (await self._of(caller, request)).retrieve_container_file_content(caller, request)

    async def delete_container_file(
        self, caller: Caller, request: files.DeleteContainerFileRequest
    ) -> files.DeleteContainerFileResponse:
        return await (await self._of(caller, request)).delete_container_file(caller, request)

    async def _of(self, caller: Caller, request: Any) -> Backend:
        try:
            owner = await self._store.get_provider(caller.tenant, request.container_id)
        except NotFoundError:
            owner = HOSTED
        return self._backends[request.provider or owner]
