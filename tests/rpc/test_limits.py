"""Limits of keys, over a real socket: who gets through, and what everybody is told."""

import asyncio
from collections.abc import AsyncIterator

import grpc.aio
import pytest

from berth.adapters.memory.limits import MemoryLimits
from berth.core.auth.credentials import Credentials
from berth.core.auth.virtual_keys import VirtualKey
from berth.core.caller import Caller, Limits
from berth.core.routing.unsupported import UnsupportedBackend
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    ListContainersRequest,
    ListContainersResponse,
    RetrieveContainerRequest,
)
from support.fakes.stores import FixedClock
from support.servers.hosted import Kept
from support.servers.service import GROQ, OLLAMA, OURS, THEIRS, Metadata, Served, eventually, refused, serving

LIMITS = {
    "two": Limits(requests_per_minute=2),
    "one write": Limits(requests_per_minute=10, operations={"write": Limits(requests_per_minute=1)}),
    "one at a time": Limits(max_in_flight=1),
    "one list at a time": Limits(operations={"read": Limits(max_in_flight=1)}),
    "free": Limits(),
}
LIST = ListContainersRequest(provider=OLLAMA)
CREATE = CreateContainerRequest(provider=OLLAMA, name="x")


def credentials() -> Credentials:
    """Return a key for each of LIMITS, all of one tenant."""
    keys = {
        f"sk-bf-{name.replace(' ', '-')}": VirtualKey(Caller("ours", name, limits=limits))
        for name, limits in LIMITS.items()
    }
    return Credentials(virtual_keys=keys, basic_users={}, now=FixedClock())


def key(name: str) -> Metadata:
    return (("x-bf-vk", f"sk-bf-{name.replace(' ', '-')}"),)


@pytest.fixture
async def limited(kept: Kept) -> AsyncIterator[Served]:
    async with serving(kept.backend, kept.store, callers=credentials(), limiter=MemoryLimits()) as served:
        yield served


async def test_requests_beyond_the_limit_are_refused(limited: Served) -> None:
    """As many as may get through, with what is left in the headers; one more is told when to come back."""
    left = []
    for _ in range(2):
        call = limited.containers.ListContainers(LIST, metadata=key("two"))
        await call
        trailers = dict(await call.trailing_metadata())
        assert trailers["x-ratelimit-limit-requests"] == "2"
        assert 30 <= int(str(trailers["x-ratelimit-reset-requests"]).removesuffix("s")) <= 60  # a busy machine is slow
        left.append(trailers["x-ratelimit-remaining-requests"])
    assert left == ["1", "0"]
    error = await refused(limited.containers.ListContainers(LIST, metadata=key("two")))
    assert error.facts() == ("RESOURCE_EXHAUSTED", "rate_limited", None)
    assert error.reply.error.type == "rate_limited"
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    assert 1 <= int(error.headers["retry-after"]) <= 60
    await limited.containers.ListContainers(LIST, metadata=key("free"))


async def test_a_kind_of_operations_has_its_own_limit(limited: Served) -> None:
    """Writes are refused beyond theirs, and reads go on; errors tell what is left as well."""
    made = await limited.containers.CreateContainer(CREATE, metadata=key("one write"))
    error = await refused(limited.containers.CreateContainer(CREATE, metadata=key("one write")))
    assert error.facts() == ("RESOURCE_EXHAUSTED", "rate_limited", None)
    request = RetrieveContainerRequest(container_id=made.id)
    await limited.containers.RetrieveContainer(request, metadata=key("one write"))
    absent = RetrieveContainerRequest(container_id="absent")
    gone = await refused(limited.containers.RetrieveContainer(absent, metadata=key("one write")))
    assert (gone.status.name, gone.headers["x-ratelimit-limit-requests"]) == ("NOT_FOUND", "10")


async def test_a_key_without_limits_is_told_nothing(limited: Served) -> None:
    """Where nothing is limited, no header says so."""
    call = limited.containers.ListContainers(LIST, metadata=key("free"))
    await call
    assert not [name for name in dict(await call.trailing_metadata()) if name.startswith("x-ratelimit")]


class Waiting(UnsupportedBackend):
    """A backend whose lists wait for `go`."""

    def __init__(self) -> None:
        super().__init__(GROQ)
        self.running, self.go = 0, asyncio.Event()

    async def list_containers(self, *_: object) -> ListContainersResponse:
        self.running += 1
        try:
            await self.go.wait()
        finally:
            self.running -= 1
        return ListContainersResponse(object="list")


@pytest.mark.parametrize("name", ["one at a time", "one list at a time"])
async def test_calls_in_flight_beyond_the_limit_are_refused(name: str) -> None:
    """While one runs another is refused, and comes through when the first has ended, or its caller has left."""
    backend = Waiting()
    async with serving(backend, callers=credentials(), limiter=MemoryLimits()) as served:

        def ask() -> grpc.aio.UnaryUnaryCall[ListContainersRequest, ListContainersResponse]:
            return served.containers.ListContainers(LIST, metadata=key(name))

        first = ask()
        await eventually(lambda: backend.running == 1)
        error = await refused(ask())
        assert error.facts() == ("RESOURCE_EXHAUSTED", "request_limited", None)
        assert error.headers["retry-after"] == "1"
        first.cancel()
        await eventually(lambda: backend.running == 0)
        second = ask()
        await eventually(lambda: backend.running == 1)
        backend.go.set()
        await second
        await ask()


async def test_a_tenant_has_limits_of_its_own() -> None:
    """A tenant's calls beyond the limit of their kind are refused with a time to retry; other tenants are served."""
    backend = Waiting()
    async with serving(backend, in_flight={"read": 2}) as served:
        running = [served.containers.ListContainers(LIST, metadata=OURS) for _ in range(2)]
        await eventually(lambda: backend.running == 2)
        error = await refused(served.containers.ListContainers(LIST, metadata=OURS))
        assert error.facts() == ("RESOURCE_EXHAUSTED", "request_limited", None)
        assert error.headers["retry-after"] == "1"
        other = served.containers.ListContainers(LIST, metadata=THEIRS)
        await eventually(lambda: backend.running == 3)
        backend.go.set()
        for call in (*running, other):
            await call
        await served.containers.ListContainers(LIST, metadata=OURS)
