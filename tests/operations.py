"""Every operation of the contract, to be called over REST or with the stubs by whoever it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
import httpx2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message

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
from berth.v1.provider_pb2 import Provider

OLLAMA = Provider.PROVIDER_OLLAMA


class Place(NamedTuple):
    """A container, and a file in it."""

    container: str
    file: str


class Outcome(NamedTuple):
    """What became of a call: the HTTP status, and the type and code of the error if it is one."""

    status: int
    kind: str | None = None
    code: str | None = None


OK = Outcome(200)


@dataclass(frozen=True)
class Operation:
    """An operation on a place: its REST request, and its request in gRPC."""

    name: str
    verb: str
    path: str
    message: Callable[[Place], Message]
    body: Mapping[str, Any] | None = None


def _upload(place: Place) -> Message:
    body = HttpBody(content_type="text/plain", data=b"new")
    return CreateContainerFileRequest(container_id=place.container, provider=OLLAMA, filename="new", body=body)


def _file(kind: Callable[..., Message]) -> Callable[[Place], Message]:
    return lambda place: kind(container_id=place.container, file_id=place.file, provider=OLLAMA)


OPERATIONS = (
    Operation(
        "CreateContainer",
        "POST",
        "/v1/containers",
        lambda _: CreateContainerRequest(provider=OLLAMA, name="new"),
        {"json": {"provider": "ollama", "name": "new"}},
    ),
    Operation("ListContainers", "GET", "/v1/containers", lambda _: ListContainersRequest(provider=OLLAMA)),
    Operation(
        "RetrieveContainer",
        "GET",
        "/v1/containers/{0}",
        lambda place: RetrieveContainerRequest(container_id=place.container, provider=OLLAMA),
    ),
    Operation("CreateContainerFile", "POST", "/v1/containers/{0}/files", _upload, {"files": {"file": ("new", b"new")}}),
    Operation(
        "ListContainerFiles",
        "GET",
        "/v1/containers/{0}/files",
        lambda place: ListContainerFilesRequest(container_id=place.container, provider=OLLAMA),
    ),
    Operation("RetrieveContainerFile", "GET", "/v1/containers/{0}/files/{1}", _file(RetrieveContainerFileRequest)),
    Operation(
        "RetrieveContainerFileContent",
        "GET",
        "/v1/containers/{0}/files/{1}/content",
        _file(RetrieveContainerFileContentRequest),
    ),
    Operation("DeleteContainerFile", "DELETE", "/v1/containers/{0}/files/{1}", _file(DeleteContainerFileRequest)),
    Operation(
        "DeleteContainer",
        "DELETE",
        "/v1/containers/{0}",
        lambda place: DeleteContainerRequest(container_id=place.container, provider=OLLAMA),
    ),
)
"""In an order in which all of them work on one place."""

ON_A_CONTAINER = frozenset(operation.name for operation in OPERATIONS) - {"CreateContainer", "ListContainers"}

Caller = Callable[[Operation, Place, Mapping[str, str]], Outcome]
"""Calls an operation on a place, with headers."""


def over_rest(client: httpx2.Client) -> Caller:
    """Return what calls through Envoy; the provider is named in every request."""

    def call(operation: Operation, place: Place, headers: Mapping[str, str]) -> Outcome:
        query = {} if operation.name == "CreateContainer" else {"provider": "ollama"}
        path = operation.path.format(*place)
        response = client.request(operation.verb, path, params=query, headers=headers, **(operation.body or {}))
        if response.status_code == 200:
            return OK
        error = response.json()["error"]
        return Outcome(response.status_code, error["type"], error["code"])

    return call


def over_grpc(channel: grpc.Channel) -> Caller:
    """Return what calls the service itself."""
    stubs = (ContainerServiceStub(channel), ContainerFileServiceStub(channel))

    def call(operation: Operation, place: Place, headers: Mapping[str, str]) -> Outcome:
        method = next(getattr(stub, operation.name) for stub in stubs if hasattr(stub, operation.name))
        message = operation.message(place)
        request = iter([message]) if operation.name == "CreateContainerFile" else message
        try:
            answer = method(request, metadata=tuple(headers.items()), timeout=30)
            if operation.name == "RetrieveContainerFileContent":
                list(answer)
        except grpc.RpcError as error:
            return _outcome(error)
        return OK

    return call


def _outcome(error: Any) -> Outcome:
    details = dict(error.trailing_metadata())["grpc-status-details-bin"]
    reply = ErrorReply.FromString(details)
    return Outcome(reply.status_code, reply.error.type, reply.error.code.string_value or None)
