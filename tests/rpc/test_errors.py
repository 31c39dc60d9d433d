"""Errors through a socket: every row of the table, bugs, and requests that cannot be read."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable
from typing import NoReturn

import grpc.aio
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo

from berth.core import errors
from berth.core.operations import OPERATIONS
from berth.core.ports.backend import Content
from berth.core.routing.unsupported import UnsupportedBackend
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    FollowContainerExecRequest,
    ListContainerExecsRequest,
    RetrieveContainerExecRequest,
    StreamContainerExecRequest,
)
from berth.v1.container_exec_service_pb2_grpc import ContainerExecServiceStub
from berth.v1.container_file_service_pb2 import (
    CreateContainerFileRequest,
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from support.servers.service import GROQ, OURS, UNSUPPORTED, Served, refused, serving

LIST = "/berth.v1.ContainerService/ListContainers"
INVALID = "invalid_request_error"


class Failing(UnsupportedBackend):
    """A backend that fails in one way, and whose downloads fail behind their first bytes."""

    def __init__(self, error: Exception) -> None:
        super().__init__(GROQ)
        self._error = error

    async def list_containers(self, *_: object) -> NoReturn:
        raise self._error

    async def retrieve_container_file_content(self, *_: object) -> Content:
        return Content(GROQ, "a", "a/b", None, length=9, chunks=self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield b"hello"
        raise self._error


REASONS = {errors.NotFoundError: "not_found", errors.ContainerExpiredError: "container_expired"}
"""What gRPC callers are told where there is no code."""


@pytest.mark.parametrize(
    ("error", "status", "http", "kind", "code"),
    [
        (errors.InvalidRequestError("no"), "INVALID_ARGUMENT", 400, INVALID, "invalid_value"),
        (
            errors.UnsupportedOperationError("container_list", "groq"),
            "FAILED_PRECONDITION",
            400,
            INVALID,
            "unsupported_operation",
        ),
        (errors.ProviderNotConfiguredError("no"), "FAILED_PRECONDITION", 400, INVALID, "provider_not_configured"),
        (errors.ContainerExpiredError(), "FAILED_PRECONDITION", 400, INVALID, None),
        (errors.AuthenticationError("no", code="who"), "UNAUTHENTICATED", 401, "who", "who"),
        (errors.PermissionDeniedError("no", code="not_you"), "PERMISSION_DENIED", 403, "not_you", "not_you"),
        (errors.NotFoundError("no"), "NOT_FOUND", 404, INVALID, None),
        (errors.IdempotencyConflictError("no"), "ABORTED", 409, INVALID, "idempotency_in_progress"),
        (
            errors.RateLimitError("no", code="rate_limited", retry_after_seconds=7),
            "RESOURCE_EXHAUSTED",
            429,
            "rate_limited",
            "rate_limited",
        ),
        (errors.UpstreamError("no"), "UNAVAILABLE", 503, "api_error", "provider_server_error"),
        (errors.StorageError("no"), "UNAVAILABLE", 503, "api_error", "storage_unavailable"),
        (errors.StoppingError(), "UNAVAILABLE", 503, "api_error", "service_unavailable"),
        (errors.UpstreamTimeoutError("no"), "DEADLINE_EXCEEDED", 504, "api_error", "request_timed_out"),
        (errors.NotFoundError("港 ist\nweg 100%\0"), "NOT_FOUND", 404, INVALID, None),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_row_of_the_table(
    error: errors.BerthError, status: str, http: int, kind: str, code: str | None
) -> None:
    """What a backend raises arrives as the table says, in both kinds of details."""
    async with serving(Failing(error)) as served:
        told = await refused(served.containers.ListContainers(ListContainersRequest(), metadata=OURS))
        await served.logged(1)
    assert (told.status.name, told.reply.status_code, told.reply.error.type, told.code) == (status, http, kind, code)
    assert told.message == error.message
    info = told.detail(ErrorInfo)
    assert isinstance(info, ErrorInfo)
    assert info.reason == REASONS.get(type(error), code or kind).upper()
    assert served.lines()[0]["status"] == status
    events = [entry["event"] for entry in served.log if not entry.get("audit")]
    failed = ["storage.failed"] if isinstance(error, errors.StorageError) else []
    assert events == [*failed, "call.finished"]


async def test_a_delay_is_told_in_every_way() -> None:
    """Who is to come back later finds the seconds in RetryInfo and in `retry-after`."""
    error = errors.RateLimitError("slow down", code="rate_limited", retry_after_seconds=7)
    async with serving(Failing(error)) as served:
        told = await refused(served.containers.ListContainers(ListContainersRequest(), metadata=OURS))
    retry = told.detail(RetryInfo)
    assert isinstance(retry, RetryInfo)
    assert retry.retry_delay.seconds == 7
    assert told.headers["retry-after"] == "7"


async def test_a_provider_that_only_the_backend_knows_is_told_in_every_way() -> None:
    """The reply, the headers and the log name the provider of a container that was asked for by its id alone."""
    async with serving(Failing(errors.NotFoundError("no", provider="groq"))) as served:
        told = await refused(served.containers.ListContainers(ListContainersRequest(), metadata=OURS))
        (line,) = await served.logged(1)
    assert told.reply.extra_fields.provider == told.headers["x-bifrost-provider"] == "groq"
    assert line["provider"] == "groq"


async def test_a_parameter_is_told_in_every_way(served: Served) -> None:
    """The parameter at fault stands in BadRequest as well."""
    told = await refused(served.containers.ListContainers(ListContainersRequest(limit=0), metadata=OURS))
    bad = told.detail(BadRequest)
    assert isinstance(bad, BadRequest)
    assert [(violation.field, violation.reason) for violation in bad.field_violations] == [
        ("limit", "INTEGER_BELOW_MIN_VALUE")
    ]


async def test_an_error_that_cannot_be_sent_is_an_internal_one() -> None:
    """Half of a pair in a message is no text: the caller is told that something failed, and no more."""
    async with serving(Failing(errors.InvalidRequestError("secret \ud800"))) as served:
        told = await refused(served.containers.ListContainers(ListContainersRequest(), metadata=OURS))
    assert told.facts() == ("INTERNAL", None, None)
    assert told.message == "internal error, request id request-1"


async def test_a_bug_reveals_the_request_id_and_nothing_else() -> None:
    """The caller gets the id; the log gets the traceback under the same id."""
    async with serving(Failing(ValueError("the password is hunter2"))) as served:
        told = await refused(served.containers.ListContainers(ListContainersRequest(), metadata=OURS))
        await served.logged(1)
    assert told.facts() == ("INTERNAL", None, None)
    assert told.message == "internal error, request id request-1"
    assert told.reply.is_bifrost_error
    assert "hunter2" not in repr(told)
    failed, finished = served.log
    assert (failed["event"], failed["log_level"], failed["request_id"]) == ("call.failed", "error", "request-1")
    bug = failed["exc_info"]
    assert isinstance(bug, ValueError)
    assert bug.__traceback__ is not None
    assert finished["status"] == "INTERNAL"


@pytest.mark.parametrize(
    ("error", "status"), [(errors.StorageError("The disk is gone."), "UNAVAILABLE"), (KeyError("hunter2"), "INTERNAL")]
)
async def test_a_download_that_breaks_off_ends_in_an_error(error: Exception, status: str) -> None:
    """What was sent is sent; the end says that something is missing."""
    async with serving(Failing(error)) as served:
        call = served.files.RetrieveContainerFileContent(
            RetrieveContainerFileContentRequest(container_id="cntr_1"), metadata=OURS
        )
        assert (await anext(aiter(call))).content_type == "a/b"
        told = await refused(_rest(call))
    assert told.status.name == status
    assert "hunter2" not in repr(told)


async def _rest(call: AsyncIterable[object]) -> list[object]:
    return [body async for body in call]


async def test_a_provider_without_containers_says_so_for_each_operation(served: Served) -> None:
    """Each of the operations on containers, their files and commands names itself and the provider."""
    containers, files, execs = served.containers, served.files, ContainerExecServiceStub(served.channel)
    upload = files.CreateContainerFile(metadata=OURS)
    await upload.write(CreateContainerFileRequest(provider=UNSUPPORTED, filename="a"))
    await upload.done_writing()
    download = RetrieveContainerFileContentRequest(provider=UNSUPPORTED)
    calls: dict[str, Awaitable[object]] = {
        "CreateContainer": containers.CreateContainer(CreateContainerRequest(provider=UNSUPPORTED), metadata=OURS),
        "ListContainers": containers.ListContainers(ListContainersRequest(provider=UNSUPPORTED), metadata=OURS),
        "RetrieveContainer": containers.RetrieveContainer(
            RetrieveContainerRequest(provider=UNSUPPORTED), metadata=OURS
        ),
        "DeleteContainer": containers.DeleteContainer(DeleteContainerRequest(provider=UNSUPPORTED), metadata=OURS),
        "CreateContainerFile": upload,
        "ListContainerFiles": files.ListContainerFiles(ListContainerFilesRequest(provider=UNSUPPORTED), metadata=OURS),
        "RetrieveContainerFile": files.RetrieveContainerFile(
            RetrieveContainerFileRequest(provider=UNSUPPORTED), metadata=OURS
        ),
        "RetrieveContainerFileContent": _rest(files.RetrieveContainerFileContent(download, metadata=OURS)),
        "DeleteContainerFile": files.DeleteContainerFile(
            DeleteContainerFileRequest(provider=UNSUPPORTED), metadata=OURS
        ),
        "CreateContainerExec": execs.CreateContainerExec(
            CreateContainerExecRequest(provider=UNSUPPORTED), metadata=OURS
        ),
        "StreamContainerExec": _rest(
            execs.StreamContainerExec(StreamContainerExecRequest(provider=UNSUPPORTED), metadata=OURS)
        ),
        "ListContainerExecs": execs.ListContainerExecs(ListContainerExecsRequest(provider=UNSUPPORTED), metadata=OURS),
        "RetrieveContainerExec": execs.RetrieveContainerExec(
            RetrieveContainerExecRequest(provider=UNSUPPORTED), metadata=OURS
        ),
        "FollowContainerExec": _rest(
            execs.FollowContainerExec(FollowContainerExecRequest(provider=UNSUPPORTED), metadata=OURS)
        ),
        "CancelContainerExec": execs.CancelContainerExec(
            CancelContainerExecRequest(provider=UNSUPPORTED), metadata=OURS
        ),
    }
    assert set(calls) == {name for name, known in OPERATIONS.items() if known.request_type.startswith("container")}
    for method, call in calls.items():
        told = await refused(call)
        assert told.facts() == ("FAILED_PRECONDITION", "unsupported_operation", None)
        assert told.message == f"{OPERATIONS[method].request_type} is not supported by cohere provider"


@pytest.mark.parametrize("request_", [b"\xff\xff", b"\x0a", b"\x1a\x02\xff\xfe", b"\x0a\x05a"])
async def test_a_malformed_request_is_the_callers_fault(served: Served, request_: bytes) -> None:
    """Bytes that are no message, or hold a text that is no UTF-8, are INVALID_ARGUMENT, with all details."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(LIST)
    assert (await refused(call(request_, metadata=OURS))).facts() == ("INVALID_ARGUMENT", "malformed_request", None)


async def test_a_malformed_upload_is_the_callers_fault(served: Served) -> None:
    """The same holds for each message of a stream."""
    path = "/berth.v1.ContainerFileService/CreateContainerFile"
    upload: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = served.channel.stream_unary(path)
    call = upload(metadata=OURS)
    await call.write(b"\xff\xff")
    assert (await refused(call)).facts() == ("INVALID_ARGUMENT", "malformed_request", None)


async def failure(call: grpc.aio.UnaryUnaryCall[bytes, bytes]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


@pytest.mark.parametrize("path", ["/berth.v1.ContainerService/Fly", "/berth.v2.ContainerService/ListContainers", "/x"])
async def test_an_unknown_method_is_unimplemented(served: Served, path: str) -> None:
    """A method or a service that does not exist is told apart from a bad request."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(path)
    assert await failure(call(b"", metadata=OURS)) is grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_may_have_24_mib(served: Served) -> None:
    """24 MiB are read; one byte more is refused."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(LIST)
    longest = ListContainersRequest(after="x" * 25_165_819).SerializeToString()
    assert len(longest) == 25_165_824
    assert (await refused(call(longest, metadata=OURS))).facts() == ("INVALID_ARGUMENT", "invalid_value", "after")
    longer = ListContainersRequest(after="x" * 25_165_820).SerializeToString()
    assert await failure(call(longer, metadata=OURS)) is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_metadata_may_have_96_kib(served: Served) -> None:
    """64 KiB of metadata are no reason to refuse a call; twice as much is."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary(LIST)
    await call(b"", metadata=(*OURS, ("x-large", "x" * 65_536)))
    assert await failure(call(b"", metadata=(*OURS, ("x-large", "x" * 131_072)))) is grpc.StatusCode.RESOURCE_EXHAUSTED
