"""Bad input for containers, over gRPC: the right status, the parameter's name, and nothing left behind."""

import pytest

from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import ExpiresAfter
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
    Skill,
)
from support.servers.hosted import Kept, Left
from support.servers.service import OLLAMA, OURS, UNCONFIGURED, UNSUPPORTED, Served, refused

MISSING, INVALID, TOO_LONG = "missing_required_parameter", "invalid_value", "string_above_max_length"
LOW, HIGH = "integer_below_min_value", "integer_above_max_value"


def named(**fields: object) -> CreateContainerRequest:
    return CreateContainerRequest(**{"name": "box", "provider": OLLAMA, **fields})  # type: ignore[arg-type] # fields


def lasting(minutes: int | None, anchor: str = "last_active_at") -> CreateContainerRequest:
    return named(expires_after=ExpiresAfter(anchor=anchor, minutes=minutes))


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (CreateContainerRequest(), "provider", MISSING),
        (CreateContainerRequest(name="box"), "provider", MISSING),
        (CreateContainerRequest(name="box", provider=99), "provider", INVALID),  # type: ignore[arg-type] # no provider
        (CreateContainerRequest(name="box", provider=-1), "provider", INVALID),  # type: ignore[arg-type] # no provider
        (CreateContainerRequest(provider=OLLAMA), "name", MISSING),
        (named(name=""), "name", MISSING),
        (named(name="x" * 10_000), "name", TOO_LONG),
        (named(name="a\0b"), "name", INVALID),
        (lasting(0), "expires_after.minutes", LOW),
        (lasting(-1), "expires_after.minutes", LOW),
        (lasting(61), "expires_after.minutes", HIGH),
        (lasting(10**9), "expires_after.minutes", HIGH),
        (lasting(None), "expires_after.minutes", MISSING),
        (lasting(20, ""), "expires_after.anchor", MISSING),
        (lasting(20, "created_at"), "expires_after.anchor", INVALID),
        (named(memory_limit="3g"), "memory_limit", INVALID),
        (named(metadata={f"{number}": "" for number in range(1_000)}), "metadata", "object_above_max_length"),
        (named(metadata={"k": "v" * 513}), "metadata.k", TOO_LONG),
        (named(skills=[Skill(type="inline")]), "skills", "unsupported_parameter"),
        (named(file_ids=["file-1"]), "file_ids[0]", INVALID),
    ],
)
async def test_a_container_that_cannot_be_is_not_made(
    served: Served, kept: Kept, request_: CreateContainerRequest, param: str, code: str
) -> None:
    """Each bad field is named, and no row is written."""
    error = await refused(served.containers.CreateContainer(request_, metadata=OURS))
    assert error.facts() == ("INVALID_ARGUMENT", code, param)
    assert (error.reply.error.type, error.reply.status_code) == ("invalid_request_error", 400)
    assert kept.left() == Left()


@pytest.mark.parametrize(
    ("provider", "code", "param"),
    [(UNCONFIGURED, "provider_not_configured", "provider"), (UNSUPPORTED, "unsupported_operation", None)],
)
async def test_a_provider_that_cannot_serve_is_refused(
    served: Served, kept: Kept, provider: int, code: str, param: str | None
) -> None:
    """A provider that is not configured, or has no containers, is never served by another one in silence."""
    error = await refused(served.containers.CreateContainer(named(provider=provider), metadata=OURS))
    assert error.facts() == ("FAILED_PRECONDITION", code, param)
    assert error.reply.status_code == 400
    assert kept.left() == Left()


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"limit": 0}, "limit", LOW),
        ({"limit": -1}, "limit", LOW),
        ({"limit": 101}, "limit", HIGH),
        ({"order": "up"}, "order", INVALID),
        ({"after": "unknown"}, "after", INVALID),
        ({"after": "a\0b"}, "after", INVALID),
        ({"after": "x" * 10_240}, "after", INVALID),
    ],
)
async def test_a_page_that_cannot_be_is_refused(
    served: Served, fields: dict[str, object], param: str, code: str
) -> None:
    """Both lists name the parameter that is out of range, or that names nothing."""
    home = await served.containers.CreateContainer(named(), metadata=OURS)
    containers = ListContainersRequest(**fields)  # type: ignore[arg-type] # fields of several types
    files = ListContainerFilesRequest(container_id=home.id, **fields)  # type: ignore[arg-type] # as above
    for call in (
        served.containers.ListContainers(containers, metadata=OURS),
        served.files.ListContainerFiles(files, metadata=OURS),
    ):
        assert (await refused(call)).facts() == ("INVALID_ARGUMENT", code, param)


@pytest.mark.parametrize("strange", ["a/b", "%2F", "..", "a\0b", "名前", "x" * 10_240, "' OR 1=1 --"])
async def test_a_strange_id_is_not_found(served: Served, kept: Kept, strange: str) -> None:
    """An id can be any text; where it names nothing the answer is NOT_FOUND, and short."""
    await served.containers.CreateContainer(named(), metadata=OURS)
    download = RetrieveContainerFileContentRequest(container_id=strange, file_id=strange)
    for call in (
        served.containers.RetrieveContainer(RetrieveContainerRequest(container_id=strange), metadata=OURS),
        served.containers.DeleteContainer(DeleteContainerRequest(container_id=strange), metadata=OURS),
        served.files.ListContainerFiles(ListContainerFilesRequest(container_id=strange), metadata=OURS),
        served.files.RetrieveContainerFile(
            RetrieveContainerFileRequest(container_id=strange, file_id=strange), metadata=OURS
        ),
        served.files.DeleteContainerFile(
            DeleteContainerFileRequest(container_id=strange, file_id=strange), metadata=OURS
        ),
        anext(aiter(served.files.RetrieveContainerFileContent(download, metadata=OURS))),
    ):
        error = await refused(call)
        assert error.facts() == ("NOT_FOUND", None, None)
        assert len(error.message) < 200
    assert kept.left() == Left(containers=1)


async def test_an_id_is_required(served: Served) -> None:
    """An empty id is a missing parameter, not something that is not found."""
    error = await refused(served.containers.RetrieveContainer(RetrieveContainerRequest(), metadata=OURS))
    assert error.facts() == ("INVALID_ARGUMENT", MISSING, "container_id")
    home = await served.containers.CreateContainer(CreateContainerRequest(provider=OLLAMA, name="x"), metadata=OURS)
    file = RetrieveContainerFileRequest(container_id=home.id)
    error = await refused(served.files.RetrieveContainerFile(file, metadata=OURS))
    assert error.facts() == ("INVALID_ARGUMENT", MISSING, "file_id")
