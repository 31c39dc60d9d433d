"""The line that the log has for a call: of which calls there is one, its level, and the trace that it names."""

import pytest

from berth.core.caller import Caller
from berth.core.ports.backend import Backend
from berth.core.routing.unsupported import UnsupportedBackend
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    ListContainersRequest,
    ListContainersResponse,
    RetrieveContainerRequest,
)
from support.servers.hosted import Kept
from support.servers.service import GROQ, OLLAMA, OURS, eventually, refused, serving

TRACE = "ab" * 16


async def test_successes_can_be_left_out_and_refusals_not(kept: Kept) -> None:
    """With a ratio of 0 only the call that is refused has a line, and the audit trail is complete."""
    async with serving(kept.backend, kept.store, logged_successes=0) as served:
        made = await served.containers.CreateContainer(CreateContainerRequest(name="a", provider=OLLAMA), metadata=OURS)
        await served.containers.RetrieveContainer(RetrieveContainerRequest(container_id=made.id), metadata=OURS)
        await refused(served.containers.RetrieveContainer(RetrieveContainerRequest(container_id="no"), metadata=OURS))
        (line,) = await served.logged(1)
        assert (line["status"], line["log_level"]) == ("NOT_FOUND", "info")
        assert [entry["event"] for entry in served.log] == ["container.created", "call.finished"]


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"traceparent": f"00-{TRACE}-{'cd' * 8}-00"}, TRACE),
        ({"x-request-id": "20f7d38f-efd3-4364-8567-ea7f4995257a"}, "20f7d38fefd343648567ea7f4995257a"),
        ({"x-request-id": f"req_{TRACE}", "traceparent": "no context"}, TRACE),
        ({"x-request-id": "of the caller"}, "d42d119f62fd09906652005c3f65f398"),
        ({"x-request-id": "0" * 32}, "89ba0e6797deef83e988be31c85d429d"),
        ({}, "48fa11119c11f0a8e394aab0ce42843b"),
    ],
)
async def test_each_line_names_a_trace(kept: Kept, headers: dict[str, str], trace_id: str) -> None:
    """The line has the trace of a valid traceparent, also without a collector, or one of the id of the request."""
    async with serving(kept.backend, kept.store) as served:
        request = ListContainersRequest(provider=OLLAMA)
        await served.containers.ListContainers(request, metadata=(*OURS, *headers.items()))
        (line,) = await served.logged(1)
    assert line["trace_id"] == trace_id


class Failing(UnsupportedBackend):
    """A backend with a bug."""

    async def list_containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Raise an error that is no refusal."""
        del caller, request
        raise ZeroDivisionError


@pytest.fixture
def failing() -> Backend:
    return Failing(GROQ)


async def test_a_failure_has_the_level_of_an_error(failing: Backend) -> None:
    """So `log.level` can leave out all calls but those that have failed."""
    async with serving(failing) as served:
        await refused(served.containers.ListContainers(ListContainersRequest(provider=OLLAMA), metadata=OURS))
        await eventually(lambda: bool(served.lines()))
        assert (served.lines()[0]["status"], served.lines()[0]["log_level"]) == ("INTERNAL", "error")
