"""Builds the requests of the container operations to a provider.

Ids come from callers, so they are escaped, and a request is not built for a value that cannot be an id.
"""

from functools import partial
from urllib.parse import quote, urlencode

import orjson

from berth.adapters.upstream.additional import form_fields
from berth.adapters.upstream.answers import copied_file_json, is_identifier, new_container_json
from berth.adapters.upstream.dialects import Dialect
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
from berth.core.errors import InvalidRequestError
from berth.core.pagination import read_pagination
from berth.core.ports.backend import BeforeCommit, Upload
from berth.core.routing.container_ownership import STATUS_NAMES, includes_bytes
from berth.core.validation import container_file_not_found, container_not_found, missing
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest
from berth.v1.file_service_pb2 import ListFilesRequest

_ROOT = "/containers"
FileRequest = RetrieveContainerFileRequest | RetrieveContainerFileContentRequest | DeleteContainerFileRequest


def new_container(
    caller: Caller, request: CreateContainerRequest, *, forwards_unknown: bool, dialect: Dialect
) -> UpstreamRequest:
    """Return the request that creates a container. InvalidRequestError without a name; the provider validates the rest.

    It is also raised for a field that the provider lacks. `forwards_unknown` is explained in `new_file`.
    """
    check = refuse_known if forwards_unknown else refuse_additional
    check(request.additional_fields, request)
    if not request.name:
        raise missing("name")
    for field, _ in request.ListFields():
        if field.name in dialect.lacks_fields:
            message = f"The provider does not support '{field.name}'."
            raise InvalidRequestError(message, param=field.name, code="unsupported_parameter")
    return UpstreamRequest(
        "POST",
        _ROOT,
        tenant=caller.tenant,
        headers=headers_of(caller),
        body=orjson.dumps(dialect.spell(new_container_json(request))),
        secrets=frozenset(secret.value for secret in request.network_policy.domain_secrets if secret.value),
    )


def container(method: str, caller: Caller, container_id: str) -> UpstreamRequest:
    """Return the request that retrieves or deletes a container."""
    return UpstreamRequest(method, _container_path(container_id), tenant=caller.tenant, headers=headers_of(caller))


def new_file(
    caller: Caller, upload: Upload, *, forwards_unknown: bool, dialect: Dialect, before_commit: BeforeCommit
) -> UpstreamRequest:
    """Return the request that creates a container file.

    InvalidRequestError for an invalid filename and, unless `forwards_unknown`,
    for fields that the contract does not define.
    """
    path = f"{_container_path(upload.container_id)}/files"
    fields = partial(_fields, upload, forwards_unknown=forwards_unknown)
    fields()  # rejects fields that are invalid already, before anything is uploaded
    if upload.has_file:
        return UpstreamRequest(
            "POST",
            path,
            tenant=caller.tenant,
            headers=headers_of(caller),
            form=UploadForm(upload, fields, before_commit=before_commit),
        )
    return UpstreamRequest(
        "POST",
        path,
        tenant=caller.tenant,
        headers=headers_of(caller),
        body=orjson.dumps(dialect.spell(copied_file_json(upload))),
    )


def containers(caller: Caller, request: ListContainersRequest) -> UpstreamRequest:
    """Return the request that lists containers; the provider validates the parameters.

    Only `include` is Berth's own: it is validated here and not sent.
    """
    includes_bytes(request)
    given = given_page(request) | ({"name": request.name} if request.name else {})
    if request.status:
        given["status"] = STATUS_NAMES[request.status]
    return UpstreamRequest("GET", _ROOT, query=urlencode(given), tenant=caller.tenant, headers=headers_of(caller))


def files(caller: Caller, request: ListContainerFilesRequest, *, is_own: bool) -> UpstreamRequest:
    """Return the request that lists container files.

    InvalidRequestError for an invalid limit or order, unless the account is the caller's own: then the provider
    validates them.
    """
    if not is_own:
        read_pagination(request)
    path = f"{_container_path(request.container_id)}/files"
    return UpstreamRequest(
        "GET", path, query=urlencode(given_page(request)), tenant=caller.tenant, headers=headers_of(caller)
    )


def given_page(request: ListContainersRequest | ListContainerFilesRequest | ListFilesRequest) -> dict[str, object]:
    """Return the parameters of pagination that a request has."""
    return {name: getattr(request, name) for name in ("limit", "after", "order") if request.HasField(name)}


def file(method: str, caller: Caller, request: FileRequest) -> UpstreamRequest:
    """Return the request that retrieves or deletes a container file. InvalidRequestError for an empty id."""
    return UpstreamRequest(method, _file_path(request), tenant=caller.tenant, headers=headers_of(caller))


def content(caller: Caller, request: FileRequest, span: Span) -> UpstreamRequest:
    """Return the request for the content of a container file. InvalidRequestError for an empty id."""
    headers = headers_of(caller) | span.headers
    return UpstreamRequest(
        "GET", f"{_file_path(request)}/content", tenant=caller.tenant, headers=headers, streamed=True
    )


def _fields(upload: Upload, *, forwards_unknown: bool) -> list[tuple[str, str]]:
    """Return the form fields that have arrived so far."""
    check = refuse_known_names if forwards_unknown else refuse_unknown
    check(upload.additional_fields, known=CONTAINER_FILE_FIELDS)
    given = {"file_id": upload.file_id, "file_path": upload.file_path}
    named = [(name, value) for name, value in given.items() if value is not None]
    return named + form_fields(upload.additional_fields)


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
