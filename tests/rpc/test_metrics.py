"""Calls are counted, whatever becomes of them."""

from contextlib import aclosing
from pathlib import Path

import grpc.aio
import pytest

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.usage.store import SqlUsage
from berth.core.ports.backend import Backend
from berth.core.routing.unsupported import UnsupportedBackend
from berth.core.usage.calls import CallCounter
from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest, RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
from support.servers.empty_database import put_empty_database
from support.servers.hosted import Kept
from support.servers.service import GROQ, OLLAMA, ONLY_GROQ, OURS, THEIRS, Metadata, eventually, refused, serving


@pytest.fixture
def backend() -> Backend:
    return UnsupportedBackend(GROQ)


@pytest.mark.parametrize(
    ("metadata", "provider", "labels"),
    [
        ((), OLLAMA, {"provider": "none", "status": "UNAUTHENTICATED"}),
        (ONLY_GROQ, OLLAMA, {"provider": "ollama", "status": "PERMISSION_DENIED"}),
        (OURS, GROQ, {"provider": "groq", "status": "FAILED_PRECONDITION"}),
    ],
)
async def test_a_refused_call_is_counted(
    backend: Backend, metadata: Metadata, provider: Provider, labels: dict[str, str]
) -> None:
    """A call that is refused, by auth too, is counted with its status, and is no longer in flight."""
    metrics = PrometheusMetrics()
    async with serving(backend, metrics=metrics) as served:
        await refused(served.containers.ListContainers(ListContainersRequest(provider=provider), metadata=metadata))
        counted = {"request_type": "container_list", **labels}
        await eventually(lambda: metrics.value("berth_call_seconds_count", **counted) == 1)
    assert metrics.value("berth_calls_in_flight") == 0


async def test_hostile_calls_make_no_series(backend: Backend) -> None:
    """Unknown methods, providers and keys, and ids of any text, are counted in the series of their kind alone."""
    metrics = PrometheusMetrics()
    async with serving(backend, metrics=metrics) as served:
        for number in range(20):
            path = f"/berth.v1.ContainerService/Method{number}"
            with pytest.raises(grpc.aio.AioRpcError):
                await served.channel.unary_unary(path)(b"")  # type: ignore[arg-type] # there are no serializers
            odd = ListContainersRequest(provider=1000 + number)  # type: ignore[arg-type] # no provider has the number
            await refused(served.containers.ListContainers(odd, metadata=OURS))
            key = (("x-bf-vk", f"sk-bf-{number}"), ("x-request-id", f"request-{number}"))
            named = RetrieveContainerRequest(container_id=f"cntr_{number}")
            await refused(served.containers.RetrieveContainer(named, metadata=key))
        samples = [sample for metric in metrics.snapshot() for sample in metric.samples]
    counted = {sample.labels["request_type"] for sample in samples if sample.name == "berth_call_seconds_count"}
    assert counted == {"container_list", "container_retrieve"}
    assert {sample.labels["provider"] for sample in samples if "provider" in sample.labels} <= {
        "none",
        "groq",
        "ollama",
    }
    assert len([sample for sample in samples if sample.name == "berth_call_seconds_count"]) == 2


async def test_what_is_foreign_is_counted_as_absent(kept: Kept) -> None:
    """No series tells somebody else's container from one that never was."""
    metrics = PrometheusMetrics()
    async with serving(kept.backend, kept.store, metrics=metrics) as served:
        request = CreateContainerRequest(name="box", provider=OLLAMA)
        made = await served.containers.CreateContainer(request, metadata=OURS)
        for container_id in (made.id, "absent"):
            gone = RetrieveContainerRequest(container_id=container_id)
            await refused(served.containers.RetrieveContainer(gone, metadata=THEIRS))
    labels = {"request_type": "container_retrieve", "provider": "none", "status": "NOT_FOUND"}
    assert metrics.value("berth_call_seconds_count", **labels) == 2


async def test_a_call_that_cannot_be_counted_succeeds(kept: Kept, tmp_path: Path) -> None:
    """A failure of what counts usage does not turn what was done into an error; the log says so."""
    reports: list[str] = []

    def broken_clock() -> int:
        raise OSError

    put_empty_database(tmp_path / "berth.db")
    async with aclosing(SqliteDatabase.open(f"sqlite:///{tmp_path}/berth.db")) as database:
        usage = CallCounter(SqlUsage(database), now=broken_clock, report=reports.append)
        async with serving(kept.backend, kept.store, usage=usage) as served:
            request = CreateContainerRequest(name="a", provider=OLLAMA)
            assert (await served.containers.CreateContainer(request, metadata=OURS)).id
            (line,) = await served.logged(1)
            assert line["status"] == "OK"
            (failed,) = [entry for entry in served.log if entry["event"] == "usage.failed"]
            assert failed["reason"] == "a call could not be counted: OSError"
