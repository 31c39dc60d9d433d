"""PassthroughBackend before a provider of the tests' own: three calls, and how they end for a caller."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from berth.adapters.upstream.settings import UpstreamKey
from berth.core.caller import Caller
from berth.core.errors import BerthError
from berth.core.ports.backend import Backend
from berth.core.ports.container_store import ContainerRecord
from berth.rpc.status import refusal
from berth.v1.container_pb2 import Container, ExpiresAfter
from berth.v1.container_service_pb2 import CreateContainerRequest, DeleteContainerRequest, RetrieveContainerRequest
from berth.v1.error_pb2 import ErrorReply
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import MemoryStore
from support.servers.passthrough import Passthrough, passthrough

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


@asynccontextmanager
async def before(
    url: str, *, kept: str | None = ID, store: MemoryStore | None = None, **settings: Any
) -> AsyncIterator[Passthrough]:
    """Open a backend in front of the provider at `url`, where the tenant has the container `kept`."""
    store = store or MemoryStore()
    defaults: dict[str, Any] = {"sleep": asyncio.sleep, "timeout_seconds": 30}
    async with passthrough(url, ONCE, store=store, **(defaults | settings)) as opened:
        if kept:
            now = opened.clock.now
            container = Container(
                id=kept,
                object="container",
                name="box",
                created_at=now,
                last_active_at=now,
                expires_after=ExpiresAfter(anchor="last_active_at", minutes=20),
            )
            await store.add_container(
                ContainerRecord(container, tenant=OURS.tenant, provider=Provider.PROVIDER_OPENAI, key=ONCE.name)
            )
        yield opened


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
