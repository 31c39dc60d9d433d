"""PassthroughBackend before a provider of the tests' own: three calls, and how they end for a caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import structlog
from structlog.testing import LogCapture

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.containers import PassthroughBackend
from berth.adapters.upstream.settings import OPENAI, UpstreamKey, UpstreamSettings
from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import BerthError
from berth.core.ports.backend import Backend
from berth.core.ports.container_store import ContainerRecord
from berth.core.routing.file_references import FileReferences
from berth.rpc.status import refusal
from berth.v1.container_pb2 import Container, ExpiresAfter
from berth.v1.container_service_pb2 import CreateContainerRequest, DeleteContainerRequest, RetrieveContainerRequest
from berth.v1.error_pb2 import ErrorReply
from berth.v1.provider_pb2 import Provider
from fakes import FixedClock, MemoryStore
from memory_files import MemoryFiles

OURS = Caller("ours", "first")
KEY = "sk-upstream"
ID = "cntr_1"
ONCE = UpstreamKey("main", KEY)

CALLS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "get": lambda backend: backend.retrieve_container(OURS, RetrieveContainerRequest(container_id=ID)),
    "delete": lambda backend: backend.delete_container(OURS, DeleteContainerRequest(container_id=ID)),
    "create": lambda backend: backend.create_container(
        OURS, CreateContainerRequest(name="box", provider=Provider.PROVIDER_OPENAI)
    ),
}


@dataclass(frozen=True)
class Before:
    """A backend before a provider, its store, its clock, and what it logged."""

    backend: PassthroughBackend
    store: MemoryStore
    clock: FixedClock
    log: LogCapture


@asynccontextmanager
async def before(
    url: str,
    *,
    kept: str | None = ID,
    store: MemoryStore | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    **settings: Any,
) -> AsyncIterator[Before]:
    """Open a backend before the provider at `url`, which the tenant has the container `kept` at."""
    store, clock, capture = store or MemoryStore(), FixedClock(), LogCapture()
    if kept:
        container = Container(
            id=kept,
            object="container",
            name="box",
            created_at=clock.now,
            last_active_at=clock.now,
            expires_after=ExpiresAfter(anchor="last_active_at", minutes=20),
        )
        await store.add_container(
            ContainerRecord(container, tenant=OURS.tenant, provider=Provider.PROVIDER_OPENAI, key=ONCE.name)
        )
    log = structlog.wrap_logger(None, processors=[capture])
    account = UpstreamAccount(
        replace(UpstreamSettings(base_url=url, dialect=OPENAI, keys=(ONCE,)), **settings),
        provider=Provider.PROVIDER_OPENAI,
        now=clock,
        log=log,
        metrics=PrometheusMetrics(),
        sleep=sleep,
    )
    references = FileReferences(MemoryFiles(clock), account.provider)
    backend = PassthroughBackend(
        account, store=store, files=references, now=clock, log=log, background=BackgroundTasks()
    )
    try:
        yield Before(backend, store, clock, capture)
    finally:
        await account.close()


async def at_once(_: float) -> None:
    """Do not wait between two tries."""


@dataclass(frozen=True)
class Ending:
    """How a call ended for the caller: status and code, and what it was told."""

    status: int
    code: str | None = None
    message: str = ""
    retry_after: int | None = None


async def ending(call: Awaitable[object]) -> Ending:
    """Wait for a call, and return how it ended; only what Berth foresees is an end."""
    try:
        await call
    except BerthError as error:
        told = refusal(error, request_id="", request_type="", provider=None)
        reply = ErrorReply.FromString(told.details)
        code = reply.error.code.string_value if reply.error.code.HasField("string_value") else None
        return Ending(reply.status_code, code, told.message, error.retry_after_seconds)
    return Ending(200)
