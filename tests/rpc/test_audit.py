"""The audit trail: what leaves a trace, what it says, and what leaves none."""

from collections.abc import Mapping

from google.api.httpbody_pb2 import HttpBody

from berth.core.errors import StorageError
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest, DeleteContainerFileRequest
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from support.fakes.counting import CountingBackend
from support.fakes.idempotent import once
from support.servers.hosted import Kept
from support.servers.service import OLLAMA, ONLY_GROQ, OURS, THEIRS, Served, eventually, refused, serving

WHO = {"tenant": "ours", "caller": "first", "source": "127.0.0.1", "provider": "ollama"}


def trail(served: Served) -> list[Mapping[str, object]]:
    """Return the events of the trail, without what all events have."""
    events = [entry for entry in served.log if entry.get("audit")]
    assert all(str(event["request_id"]).startswith("request-") for event in events)
    rest = {"audit", "request_id", "log_level"}
    return [{name: value for name, value in event.items() if name not in rest} for event in events]


async def test_what_is_made_and_deleted_leaves_a_trace(served: Served) -> None:
    """One event each, with the ids, in the order in which it happened."""
    made = await served.containers.CreateContainer(CreateContainerRequest(name="box", provider=OLLAMA), metadata=OURS)
    body = HttpBody(content_type="text/plain", data=b"secret content")
    upload = CreateContainerFileRequest(container_id=made.id, filename="x", body=body)
    file = await served.files.CreateContainerFile(iter([upload]), metadata=OURS)
    await served.containers.RetrieveContainer(RetrieveContainerRequest(container_id=made.id), metadata=OURS)
    deletion = DeleteContainerFileRequest(container_id=made.id, file_id=file.id)
    await served.files.DeleteContainerFile(deletion, metadata=OURS)
    await served.containers.DeleteContainer(DeleteContainerRequest(container_id=made.id), metadata=OURS)
    assert trail(served) == [
        {"event": "container.created", "id": made.id, "container_id": made.id, **WHO},
        {"event": "container_file.created", "id": file.id, "container_id": made.id, **WHO},
        {"event": "container_file.deleted", "id": file.id, "container_id": made.id, **WHO},
        {"event": "container.deleted", "id": made.id, "container_id": made.id, **WHO},
    ]


async def test_who_is_turned_away_leaves_a_trace(served: Served) -> None:
    """Without a credential, with a wrong one, and with one that may not; never what was presented."""
    request = ListContainersRequest(provider=OLLAMA)
    for metadata in ((), (("x-bf-vk", "sk-bf-hush"),), ONLY_GROQ):
        await refused(served.containers.ListContainers(request, metadata=metadata))
    nobody = {"tenant": None, "caller": None, "source": "127.0.0.1", "provider": None}
    known = {"tenant": "ours", "caller": "only-groq", "source": "127.0.0.1", "provider": "ollama"}
    refusal = {"event": "call.refused", "operation": "container_list"}
    assert trail(served) == [
        {**refusal, "result": "AuthenticationError", "code": "virtual_key_required", **nobody},
        {**refusal, "result": "AuthenticationError", "code": "virtual_key_not_found", **nobody},
        {**refusal, "result": "PermissionDeniedError", "code": "provider_blocked", **known},
    ]
    assert "hush" not in str(served.log)


async def test_what_is_not_ones_own_leaves_none(served: Served) -> None:
    """Asking for somebody else's container is like asking for none: no event tells that it is there."""
    made = await served.containers.CreateContainer(CreateContainerRequest(name="box", provider=OLLAMA), metadata=OURS)
    before = trail(served)
    for container_id in (made.id, "absent"):
        await refused(
            served.containers.DeleteContainer(DeleteContainerRequest(container_id=container_id), metadata=THEIRS)
        )
    assert trail(served) == before
    of_each = {"milliseconds": 0, "request_id": "", "trace_id": ""}
    lines = [{**line, **of_each} for line in (await served.logged(3))[-2:]]
    assert lines[0] == lines[1]


async def test_what_is_told_again_is_not_made_again(kept: Kept) -> None:
    """For an idempotency key the trail has one creation, and that it was told again."""
    async with serving(once(kept), kept.store) as served:
        request, metadata = CreateContainerRequest(name="box", provider=OLLAMA), (*OURS, ("idempotency-key", "key"))
        made = [await served.containers.CreateContainer(request, metadata=metadata) for _ in range(2)]
        events = [(event["event"], event["id"]) for event in trail(served)]
    assert events == [("container.created", made[0].id), ("call.replayed", made[0].id)]


async def test_a_caller_who_disconnects_leaves_a_trace() -> None:
    """A deletion that goes on after its caller has disconnected is in the trail; one that was not admitted is not."""
    backend = CountingBackend(gated=True)
    async with serving(backend.as_backend()) as served:
        for metadata in (OURS, ONLY_GROQ):
            call = served.containers.DeleteContainer(DeleteContainerRequest(container_id="box"), metadata=metadata)
            if metadata is OURS:
                await eventually(lambda: bool(backend.gates))
            else:
                await refused(call)
            call.cancel()
        await eventually(lambda: len(served.lines()) == 2)
        backend.error = StorageError("The disk is full.", code="storage_unavailable")
        backend.gated = False
        await refused(served.containers.DeleteContainer(DeleteContainerRequest(container_id="box"), metadata=OURS))
        events = [event for event in trail(served) if event["event"] == "call.unfinished"]
    unfinished = {"event": "call.unfinished", "operation": "container_delete", "container_id": "box", **WHO}
    assert events == [
        {**unfinished, "result": "CancelledError", "code": None},
        {**unfinished, "result": "StorageError", "code": "storage_unavailable"},
    ]
