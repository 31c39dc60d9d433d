"""What each operation sends to a provider.

Ids come from callers: they are escaped, and what cannot be an id is not sent.
"""

from urllib.parse import quote, urlencode

import orjson

from berth.adapters.upstream.answers import copied_file_json, is_identifier, new_container_json
from berth.adapters.upstream.download import Span
from berth.adapters.upstream.form import UploadForm
from berth.adapters.upstream.session import Order
from berth.core.backend import Upload
from berth.core.caller import Caller
from berth.core.checks import missing, shown
from berth.core.errors import NotFoundError
from berth.core.paging import paging
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_service_pb2 import CreateContainerRequest

_ROOT = "/containers"
FileRequest = RetrieveContainerFileRequest | RetrieveContainerFileContentRequest | DeleteContainerFileRequest


def new_container(caller: Caller, request: CreateContainerRequest) -> Order:
    """Return what makes a container. InvalidRequestError if it has no name; the rest is for the provider to judge."""
    if not request.name:
        raise missing("name")
    return Order(
        "POST",
        _ROOT,
        headers=headers_of(caller),
        body=orjson.dumps(new_container_json(request)),
        secrets=frozenset(secret.value for secret in request.network_policy.domain_secrets if secret.value),
    )


def container(method: str, caller: Caller, container_id: str) -> Order:
    """Return what retrieves or deletes a container."""
    return Order(method, _container_path(container_id), headers=headers_of(caller))


def new_file(caller: Caller, upload: Upload) -> Order:
    """Return what puts a file into a container. InvalidRequestError for a name that cannot be."""
    path = f"{_container_path(upload.container_id)}/files"
    if upload.file_id is None:
        return Order("POST", path, headers=headers_of(caller), form=UploadForm(upload, lambda: _fields(upload)))
    return Order("POST", path, headers=headers_of(caller), body=orjson.dumps(copied_file_json(upload)))


def files(caller: Caller, request: ListContainerFilesRequest) -> Order:
    """Return what lists the files of a container. InvalidRequestError for a limit or an order that cannot be."""
    paging(request)
    given = {name: getattr(request, name) for name in ("limit", "after", "order") if request.HasField(name)}
    path = f"{_container_path(request.container_id)}/files"
    return Order("GET", path, query=urlencode(given), headers=headers_of(caller))


def file(method: str, caller: Caller, request: FileRequest) -> Order:
    """Return what retrieves or deletes a file. InvalidRequestError for an empty id."""
    return Order(method, _file_path(request), headers=headers_of(caller))


def content(caller: Caller, request: FileRequest, span: Span) -> Order:
    """Return what opens a file. InvalidRequestError for an empty id."""
    headers = headers_of(caller) | span.headers
    return Order("GET", f"{_file_path(request)}/content", headers=headers, streamed=True)


def _fields(upload: Upload) -> dict[str, str]:
    """Return the fields of the form that are known by now."""
    return {} if upload.file_path is None else {"file_path": upload.file_path}


def _container_path(container_id: str) -> str:
    if not container_id:
        raise missing("container_id")
    if not is_identifier(container_id):
        raise NotFoundError(f"Container {shown(container_id)} not found.")
    return f"{_ROOT}/{quote(container_id, safe='')}"


def _file_path(request: FileRequest) -> str:
    path = _container_path(request.container_id)
    if not request.file_id:
        raise missing("file_id")
    if not is_identifier(request.file_id):
        raise NotFoundError(f"File {shown(request.file_id)} not found on container {shown(request.container_id)}.")
    return f"{path}/files/{quote(request.file_id, safe='')}"


def headers_of(caller: Caller) -> dict[str, str]:
    """Return what a caller wants the provider to know."""
    options = caller.options
    given = {
        "OpenAI-Organization": options.organization,
        "OpenAI-Project": options.project,
        "Idempotency-Key": options.attempt,
    }
    return {name: value for name, value in given.items() if value}
