"""The gRPC server in the tests' own process, and what its callers see of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING

import grpc.aio
import pytest
import structlog
from google.protobuf.message import Message
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from structlog.testing import LogCapture

from berth.adapters.memory.limits import MemoryLimits
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.core.auth.credentials import Credentials
from berth.core.auth.login_throttle import LoginThrottle
from berth.core.auth.rate_limits import Gate, Limiter, TenantSlots
from berth.core.auth.virtual_keys import VirtualKey
from berth.core.caller import Caller
from berth.core.exec.backend import ExecBackend
from berth.core.ports.backend import Backend
from berth.core.ports.container_store import ContainerStore
from berth.core.ports.file_backend import FileBackend
from berth.core.ports.metrics import Metrics
from berth.core.providers import PROVIDERS
from berth.core.routing.router import Router
from berth.core.routing.unsupported import UnsupportedBackend
from berth.core.usage.calls import CallCounter
from berth.rpc.handlers.container_execs import ContainerExecHandlers
from berth.rpc.handlers.container_files import ContainerFileHandlers
from berth.rpc.handlers.containers import ContainerHandlers
from berth.rpc.interceptors.admission import admission
from berth.rpc.interceptors.audit import audit_interceptor
from berth.rpc.interceptors.auth import auth_interceptor
from berth.rpc.interceptors.errors import errors_interceptor
from berth.rpc.interceptors.limits import limits_interceptor
from berth.rpc.interceptors.request import request_interceptor
from berth.rpc.interceptors.unread import MAX_UNREAD_BYTES, UnreadAnswers, unread_interceptor
from berth.rpc.patience import DEFAULT_PATIENCE, Patience
from berth.rpc.server import Server
from berth.v1 import container_exec_service_pb2, container_file_service_pb2, container_service_pb2
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.error_pb2 import ErrorReply
from berth.v1.provider_pb2 import Provider
from support.fakes.files import MemoryFiles
from support.fakes.stores import FixedClock, MemoryStore

if TYPE_CHECKING:  # these two exist for type checkers alone
    from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceAsyncStub
    from berth.v1.container_service_pb2_grpc import ContainerServiceAsyncStub

Metadata = tuple[tuple[str, str], ...]

OURS: Metadata = (("x-bf-vk", "sk-bf-ours"),)
THEIRS: Metadata = (("x-bf-vk", "sk-bf-theirs"),)
ONLY_GROQ: Metadata = (("x-bf-vk", "sk-bf-only-groq"),)

MAX_JSON_BYTES = 1_048_576
OLLAMA, GROQ = Provider.PROVIDER_OLLAMA, Provider.PROVIDER_GROQ
UNCONFIGURED, UNSUPPORTED = Provider.PROVIDER_OPENAI, Provider.PROVIDER_COHERE


def credentials() -> Credentials:
    """Return the tenants "ours" (two keys, one of them for Groq alone, and a Basic user) and "theirs" (a key)."""
    return Credentials(
        virtual_keys={
            "sk-bf-ours": VirtualKey(Caller("ours", "first")),
            "sk-bf-theirs": VirtualKey(Caller("theirs", "second")),
            "sk-bf-only-groq": VirtualKey(Caller("ours", "only-groq", frozenset({GROQ}))),
        },
        basic_users={("ops", "pass:wörd"): Caller("ours", "ops")},
        now=FixedClock(),
    )


def unhurried() -> LoginThrottle:
    """Return what slows nobody down."""
    return LoginThrottle(free=1_000_000, timer=time.monotonic, sleep=asyncio.sleep)


@dataclass(frozen=True)
class Served:
    """A running server: its stubs, a channel to it, what it logged, and itself."""

    containers: "ContainerServiceAsyncStub"
    files: "ContainerFileServiceAsyncStub"
    channel: grpc.aio.Channel
    port: int
    log: Sequence[Mapping[str, object]]
    server: Server

    def lines(self) -> list[Mapping[str, object]]:
        """Return the log lines of calls that have ended."""
        return [entry for entry in self.log if entry["event"] == "call.finished"]

    async def logged(self, count: int) -> list[Mapping[str, object]]:
        """Return the log lines once `count` calls have ended: their answers may arrive before."""
        await eventually(lambda: len(self.lines()) >= count)
        return self.lines()


def no_files() -> Router[FileBackend]:
    """Return the router of a service that keeps no files outside of containers."""
    return Router({}, hosted=UnsupportedBackend(UNSUPPORTED), store=MemoryFiles(FixedClock()), resource="file")


def no_execs() -> Router[ExecBackend]:
    """Return the router of a service that runs no commands."""
    unsupported = UnsupportedBackend(UNSUPPORTED)
    return Router({UNSUPPORTED: unsupported}, hosted=unsupported, store=MemoryStore())


class Ollamas(MemoryStore):
    """A store that knows of every container, and that it is Ollama's."""

    async def get_provider(self, *_: object) -> Provider:
        """Return Ollama."""
        return OLLAMA


@asynccontextmanager
async def serving(
    hosted: Backend,
    store: ContainerStore | None = None,
    *,
    metrics: Metrics | None = None,
    callers: Credentials | None = None,
    limiter: Limiter | None = None,
    in_flight: Mapping[str, int] = MappingProxyType({}),
    unread_bytes: int = MAX_UNREAD_BYTES,
    patience: Patience = DEFAULT_PATIENCE,
    usage: CallCounter | None = None,
    logged_successes: float = 1.0,
) -> AsyncIterator[Served]:
    """Serve `hosted` for every provider but OpenAI, which is not configured, and Cohere, which has no containers.

    Without a `store` every container there may be is Ollama's.
    """
    backends: dict[Provider, Backend] = dict.fromkeys(PROVIDERS.values(), hosted)
    backends[UNSUPPORTED] = UnsupportedBackend(UNSUPPORTED)
    del backends[UNCONFIGURED]
    router = Router(backends, hosted=hosted, store=store or Ollamas())
    capture, numbers = LogCapture(), count(1)
    counted = metrics if metrics is not None else PrometheusMetrics()
    log = structlog.wrap_logger(None, processors=[capture])
    server = Server(
        {
            container_service_pb2.DESCRIPTOR.services_by_name["ContainerService"]: ContainerHandlers(),
            container_file_service_pb2.DESCRIPTOR.services_by_name["ContainerFileService"]: ContainerFileHandlers(
                max_json_bytes=MAX_JSON_BYTES
            ),
            container_exec_service_pb2.DESCRIPTOR.services_by_name["ContainerExecService"]: ContainerExecHandlers(),
        },
        admit=admission(router, no_files(), no_execs()),
        interceptors=[
            request_interceptor(
                log,
                counted,
                new_request_id=lambda: f"request-{next(numbers)}",
                usage=usage,
                patience=patience,
                logged_successes=logged_successes,
            ),
            errors_interceptor(log),
            audit_interceptor(log),
            auth_interceptor(callers or credentials(), unhurried()),
            unread_interceptor(UnreadAnswers(unread_bytes)),
            limits_interceptor(Gate(limiter or MemoryLimits()), TenantSlots(in_flight)),
        ],
        limited=counted.call_limited,
    )
    port = server.bind("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            containers, files = ContainerServiceStub(channel), ContainerFileServiceStub(channel)
            yield Served(containers, files, channel, port, capture.entries, server)
    finally:
        await server.drain(0)


@dataclass(frozen=True)
class Refused:
    """An error as a caller gets it: the status, Berth's own details, the standard ones, and the metadata beside."""

    status: grpc.StatusCode
    reply: ErrorReply
    standard: Status
    headers: Mapping[str, str | bytes]

    @property
    def message(self) -> str:
        """What went wrong, for people."""
        return self.reply.error.message

    @property
    def param(self) -> str | None:
        """The parameter at fault; None where it is null."""
        return self.reply.error.param.string_value if self.reply.error.param.HasField("string_value") else None

    @property
    def code(self) -> str | None:
        """The error's code; None where it is null."""
        return self.reply.error.code.string_value if self.reply.error.code.HasField("string_value") else None

    def facts(self) -> tuple[str, str | None, str | None]:
        """Return status, code and parameter: what most refusals are told apart by."""
        return self.status.name, self.code, self.param

    def detail(self, kind: type[ErrorInfo | BadRequest | RetryInfo]) -> Message | None:
        """Return the standard detail of a kind, None if there is none."""
        for packed in self.standard.details:
            found: Message = kind()
            if packed.Unpack(found):
                return found
        return None


async def refused(call: Awaitable[object]) -> Refused:
    """Return the error that a call ends in; it must have details, and they must agree with its status."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    error = caught.value
    headers = dict(error.trailing_metadata() or ())
    details = headers["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    reply, standard = ErrorReply.FromString(details), Status.FromString(details)
    assert standard.code == error.code().value[0]
    assert standard.message == reply.error.message == error.details()
    return Refused(error.code(), reply, standard, headers)


async def eventually(claim: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Wait until `claim` holds; TimeoutError if it does not in time."""
    async with asyncio.timeout(seconds):
        while not claim():  # noqa: ASYNC110 - what is waited for is often in another thread, or in the server
            await asyncio.sleep(0.005)
