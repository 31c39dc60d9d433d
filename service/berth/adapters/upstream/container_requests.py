"""Builds the requests of the container operations to a provider.

Ids come from callers, so they are escaped, and a request is not built for a value that cannot be an id.
"""

from functools import partial
from urllib.parse import quote, urlencode

import orjson

from berth.adapters.upstream.additional import form_fields
from berth.adapters.upstream.answers import copied_file_json, is_identifier, new_container_json
from berth.adapters.upstream.http.client import UpstreamRequest
from berth.adapters.upstream.http.download import Span
from berth.adapters.upstream.http.form import UploadForm
from berth.core.additional_fields import (
    CONTAINER_FILE_FIELDS,
    refuse_additional,
    refuse_known,
    refuse_known_names,
    refuse_unknown,
)
from berth.core.caller import Caller
from berth.core.pagination import read_pagination
from berth.core.ports.backend import BeforeCommit, Upload
from berth.core.validation import container_file_not_found, container_not_found, missing
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_service_pb2 import CreateContainerRequest

_ROOT = "/containers"
FileRequest = RetrieveContainerFileRequest | RetrieveContainerFileContentRequest | DeleteContainerFileRequest


def new_container(caller: Caller, request: CreateContainerRequest, *, forwards_unknown: bool) -> UpstreamRequest:
    """Return the request that creates a container. InvalidRequestError without a name; the provider validates the rest.

    `forwards_unknown` is explained in `new_file`.
    """
    check = refuse_known if forwards_unknown else refuse_additional
    check(request.additional_fields, request)
    if not request.name:
        raise missing("name")
    return UpstreamRequest(
        "POST",
        _ROOT,
        headers=headers_of(caller),
        body=orjson.dumps(new_container_json(request)),
        secrets=frozenset(secret.value for secret in request.network_policy.domain_secrets if secret.value),
    )


def container(method: str, caller: Caller, container_id: str) -> UpstreamRequest:
    """Return the request that retrieves or deletes a container."""
    return UpstreamRequest(method, _container_path(container_id), headers=headers_of(caller))


def new_file(caller: Caller, upload: Upload, *, forwards_unknown: bool, before_commit: BeforeCommit) -> UpstreamRequest:
    """Return the request that creates a container file.

    InvalidRequestError for an invalid filename and, unless `forwards_unknown`,
    for fields that the contract does not define.
    """
    path = f"{_container_path(upload.container_id)}/files"
    fields = partial(_fields, upload, forwards_unknown=forwards_unknown)
    fields()  # rejects fields that are invalid already, before anything is uploaded
    if upload.file_id is None:
        return UpstreamRequest(
            "POST", path, headers=headers_of(caller), form=UploadForm(upload, fields, before_commit=before_commit)
        )
    return UpstreamRequest("POST", path, headers=headers_of(caller), body=orjson.dumps(copied_file_json(upload)))


def files(caller: Caller, request: ListContainerFilesRequest) -> UpstreamRequest:
    """Return the request that lists container files. InvalidRequestError for an invalid limit or order."""
    read_pagination(request)
    given = {name: getattr(request, name) for name in ("limit", "after", "order") if request.HasField(name)}
    path = f"{_container_path(request.container_id)}/files"
    return UpstreamRequest("GET", path, query=urlencode(given), headers=headers_of(caller))


def file(method: str, caller: Caller, request: FileRequest) -> UpstreamRequest:
    """Return the request that retrieves or deletes a container file. InvalidRequestError for an empty id."""
    return UpstreamRequest(method, _file_path(request), headers=headers_of(caller))


def content(caller: Caller, request: FileRequest, span: Span) -> UpstreamRequest:
    """Return the request for the content of a container file. InvalidRequestError for an empty id."""
    headers = headers_of(caller) | span.headers
    return UpstreamRequest("GET", f"{_file_path(request)}/content", headers=headers, streamed=True)


def _fields(upload: Upload, *, forwards_unknown: bool) -> list[tuple[str, str]]:
    """Return the form fields that have arrived so far."""
    check = refuse_known_names if forwards_unknown else refuse_unknown
    check(upload.additional_fields, known=CONTAINER_FILE_FIELDS)
    given = [] if upload.file_path is None else [("file_path", upload.file_path)]
    return given + form_fields(upload.additional_fields)


def _container_path(container_id: str) -> str:
    if not container_id:
        raise missing("container_id")
    if not is_identifier(container_id):
        raise container_not_found(container_id)
    return f"{_ROOT}/{quote(container_id, safe='')}"


def _file_path(request: FileRequest) -> str:
    path = _container_path(request.container_id)
    if not request.file_id:
        raise missing("file_id")
    if not is_identifier(request.file_id):
        raise container_file_not_found(request.container_id, request.file_id)
    return f"{path}/files/{quote(request.file_id, safe='')}"


def headers_of(caller: Caller) -> dict[str, str]:
    """Return the headers that the options of a caller add to a request."""
    options = caller.options
    given = {
        "OpenAI-Organization": options.organization,
        "OpenAI-Project": options.project,
        "Idempotency-Key": options.attempt,
    }
    return {name: value for name, value in given.items() if value}
