"""Every operation of the contract, to be called over REST or with the stubs by whoever it is."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import httpx2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

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
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.error_pb2 import ErrorReply
from berth.v1.file_service_pb2 import (
    CreateFileRequest,
    DeleteFileRequest,
    ListFilesRequest,
    RetrieveFileContentRequest,
    RetrieveFileRequest,
)
from berth.v1.file_service_pb2_grpc import FileServiceStub
from berth.v1.mcp_service_pb2 import SendMcpMessageRequest
from berth.v1.mcp_service_pb2_grpc import McpServiceStub
from berth.v1.provider_pb2 import Provider
from berth.v1.usage_service_pb2 import ListUsageRequest
from berth.v1.usage_service_pb2_grpc import UsageServiceStub

OLLAMA = Provider.PROVIDER_OLLAMA


class Place(NamedTuple):
    """What there is to work on: a container, a file in it, a file in none, and a container to copy that one into.

    `exec` is a command that has ended in the container.
    """

    container: str
    file: str
    loose: str
    target: str
    exec: str


class Outcome(NamedTuple):
    """What became of a call: the HTTP status, and the type and code of the error if it is one."""

    status: int
    kind: str | None = None
    code: str | None = None


OK = Outcome(200)
UPLOADS = {"CreateContainerFile", "CreateFile"}
DOWNLOADS = {
    "RetrieveContainerFileContent",
    "RetrieveFileContent",
    "StreamContainerExec",
    "FollowContainerExec",
    "SendMcpMessage",
}
"""Those that answer with a stream."""


@dataclass(frozen=True)
class Operation:
    """A method of the contract, called on a place: its REST request, and its request in gRPC.

    `also` tells a second way to call the same method from the first.
    """

    method: str
    verb: str
    path: str
    message: Callable[[Place], Message]
    body: Callable[[Place], Mapping[str, Any]] = lambda _: {}
    also: str = ""

    @property
    def name(self) -> str:
        """What it is called in a table."""
        return f"{self.method} {self.also}".strip()


NEW = HttpBody(content_type="text/plain", data=b"new")
UPLOAD = {"file": ("new", b"new")}
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def _container(kind: Callable[..., Message]) -> Callable[[Place], Message]:
    return lambda place: kind(container_id=place.container, provider=OLLAMA)


def _file(kind: Callable[..., Message]) -> Callable[[Place], Message]:
    return lambda place: kind(container_id=place.container, file_id=place.file, provider=OLLAMA)


def _exec(kind: Callable[..., Message]) -> Callable[[Place], Message]:
    return lambda place: kind(container_id=place.container, exec_id=place.exec, provider=OLLAMA)


def _loose(kind: Callable[..., Message]) -> Callable[[Place], Message]:
    return lambda place: kind(file_id=place.loose, provider=OLLAMA)


CONTAINERS = "/v1/containers"
CONTAINER = f"{CONTAINERS}/{{0.container}}"
CONTAINER_FILE = f"{CONTAINER}/files/{{0.file}}"
EXECS = f"{CONTAINER}/execs"
EXEC = f"{EXECS}/{{0.exec}}"
FILE = "/v1/files/{0.loose}"
OPERATIONS = (
    Operation(
        "CreateContainer",
        "POST",
        CONTAINERS,
        lambda _: CreateContainerRequest(provider=OLLAMA, name="new"),
        lambda _: {"json": {"provider": "ollama", "name": "new"}},
    ),
    Operation("ListContainers", "GET", CONTAINERS, lambda _: ListContainersRequest(provider=OLLAMA)),
    Operation("RetrieveContainer", "GET", CONTAINER, _container(RetrieveContainerRequest)),
    Operation(
        "CreateContainerFile",
        "POST",
        f"{CONTAINER}/files",
        lambda place: CreateContainerFileRequest(
            container_id=place.container, provider=OLLAMA, filename="new", body=NEW
        ),
        lambda _: {"files": UPLOAD},
    ),
    Operation("ListContainerFiles", "GET", f"{CONTAINER}/files", _container(ListContainerFilesRequest)),
    Operation("RetrieveContainerFile", "GET", CONTAINER_FILE, _file(RetrieveContainerFileRequest)),
    Operation(
        "RetrieveContainerFileContent", "GET", f"{CONTAINER_FILE}/content", _file(RetrieveContainerFileContentRequest)
    ),
    Operation(
        "CreateContainerExec",
        "POST",
        EXECS,
        lambda place: CreateContainerExecRequest(container_id=place.container, provider=OLLAMA, command="true"),
        lambda _: {"json": {"command": "true"}},
    ),
    Operation(
        "StreamContainerExec",
        "POST",
        f"{EXECS}/stream",
        lambda place: StreamContainerExecRequest(container_id=place.container, provider=OLLAMA, command="true"),
        lambda _: {"json": {"command": "true"}},
    ),
    Operation("ListContainerExecs", "GET", EXECS, _container(ListContainerExecsRequest)),
    Operation("RetrieveContainerExec", "GET", EXEC, _exec(RetrieveContainerExecRequest)),
    Operation("FollowContainerExec", "GET", f"{EXEC}/stream", _exec(FollowContainerExecRequest)),
    Operation("CancelContainerExec", "POST", f"{EXEC}/cancel", _exec(CancelContainerExecRequest)),
    Operation("DeleteContainerFile", "DELETE", CONTAINER_FILE, _file(DeleteContainerFileRequest)),
    Operation("DeleteContainer", "DELETE", CONTAINER, _container(DeleteContainerRequest)),
    Operation(
        "CreateFile",
        "POST",
        "/v1/files",
        lambda _: CreateFileRequest(provider=OLLAMA, purpose="batch", filename="new", body=NEW),
        lambda _: {"files": UPLOAD, "data": {"purpose": "batch"}},
    ),
    Operation("ListFiles", "GET", "/v1/files", lambda _: ListFilesRequest(provider=OLLAMA)),
    Operation("RetrieveFile", "GET", FILE, _loose(RetrieveFileRequest)),
    Operation("RetrieveFileContent", "GET", f"{FILE}/content", _loose(RetrieveFileContentRequest)),
    Operation(
        "ListFiles",
        "GET",
        "/v1/files?after={0.loose}",
        lambda place: ListFilesRequest(provider=OLLAMA, after=place.loose),
        also="after",
    ),
    Operation(
        "CreateContainer",
        "POST",
        CONTAINERS,
        lambda place: CreateContainerRequest(provider=OLLAMA, name="new", file_ids=[place.loose]),
        lambda place: {"json": {"provider": "ollama", "name": "new", "file_ids": [place.loose]}},
        also="with file_ids",
    ),
    Operation(
        "CreateContainerFile",
        "POST",
        f"{CONTAINERS}/{{0.target}}/files",
        lambda place: CreateContainerFileRequest(container_id=place.target, provider=OLLAMA, file_id=place.loose),
        lambda place: {"json": {"file_id": place.loose}},
        also="with file_id",
    ),
    Operation("DeleteFile", "DELETE", FILE, _loose(DeleteFileRequest)),
    Operation("ListUsage", "GET", "/v1/usage", lambda _: ListUsageRequest(provider=OLLAMA)),
    Operation(
        "SendMcpMessage",
        "POST",
        "/v1/mcp",
        lambda _: SendMcpMessageRequest(
            provider=OLLAMA, body=HttpBody(content_type="application/json", data=json.dumps(PING).encode())
        ),
        lambda _: {"json": PING},
    ),
)
"""In an order in which all of them work on one place."""

ANYWHERE = frozenset({"CreateContainer", "ListContainers", "CreateFile", "ListFiles", "ListUsage", "SendMcpMessage"})
"""The operations that name nothing of a place."""
REFERRING = frozenset(operation.name for operation in OPERATIONS if operation.also)
"""The operations that name a file as a parameter beside what they are about."""

Caller = Callable[[Operation, Place, Mapping[str, str]], Outcome]
"""Calls an operation on a place, with headers."""


def over_rest(client: httpx2.Client) -> Caller:
    """Return what calls through Envoy; the provider is named in every request."""

    def call(operation: Operation, place: Place, headers: Mapping[str, str]) -> Outcome:
        url = httpx2.URL(operation.path.format(place))
        if operation.method != "CreateContainer":
            url = url.copy_merge_params({"provider": "ollama"})
        response = client.request(operation.verb, url, headers=headers, **operation.body(place))
        if response.status_code == 200:
            return OK
        error = response.json()["error"]
        return Outcome(response.status_code, error["type"], error["code"])

    return call


def over_grpc(channel: grpc.Channel) -> Caller:
    """Return what calls the service itself."""
    stubs = (
        ContainerServiceStub(channel),
        ContainerFileServiceStub(channel),
        ContainerExecServiceStub(channel),
        FileServiceStub(channel),
        UsageServiceStub(channel),
        McpServiceStub(channel),
    )

    def call(operation: Operation, place: Place, headers: Mapping[str, str]) -> Outcome:
        method = next(getattr(stub, operation.method) for stub in stubs if hasattr(stub, operation.method))
        message = operation.message(place)
        request = iter([message]) if operation.method in UPLOADS else message
        try:
            answer = method(request, metadata=tuple(headers.items()), timeout=30)
            if operation.method in DOWNLOADS:
                list(answer)
        except grpc.RpcError as error:
            return _outcome(error)
        return OK

    return call


def _outcome(error: Any) -> Outcome:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    reply = ErrorReply.FromString(details)
    return Outcome(reply.status_code, reply.error.type, reply.error.code.string_value or None)
