"""Calls are counted, whatever becomes of them."""

import pytest

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.core.ports.backend import Backend
from berth.core.routing.unsupported import UnsupportedBackend
from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest, RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
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
