"""Builds the requests of the Files API to a provider; see `container_requests`."""

from functools import partial
from urllib.parse import quote, urlencode

from berth.adapters.upstream.additional import form_fields
from berth.adapters.upstream.answers import is_identifier
from berth.adapters.upstream.container_requests import given_page, headers_of
from berth.adapters.upstream.http.client import UpstreamRequest
from berth.adapters.upstream.http.download import Span
from berth.adapters.upstream.http.form import UploadForm
from berth.core.additional_fields import FILE_FIELDS, refuse_known_names, refuse_unknown
from berth.core.caller import Caller
from berth.core.ports.backend import BeforeCommit
from berth.core.ports.file_backend import FileUpload
from berth.core.validation import file_not_found, missing
from berth.v1.file_service_pb2 import ListFilesRequest

_ROOT = "/files"


def new_file(
    caller: Caller, upload: FileUpload, *, forwards_unknown: bool, before_commit: BeforeCommit
) -> UpstreamRequest:
    """Return the request that creates a file; see `container_requests.new_file`. The provider validates the rest."""
    fields = partial(_fields, upload, forwards_unknown=forwards_unknown)
    fields()  # rejects fields that are invalid already, before anything is uploaded
    form = UploadForm(upload, fields, before_commit=before_commit)
    return UpstreamRequest("POST", _ROOT, tenant=caller.tenant, headers=headers_of(caller), form=form)


def files(caller: Caller, request: ListFilesRequest) -> UpstreamRequest:
    """Return the request that lists files; the provider validates the parameters."""
    given = given_page(request) | ({"purpose": request.purpose} if request.purpose else {})
    return UpstreamRequest("GET", _ROOT, query=urlencode(given), tenant=caller.tenant, headers=headers_of(caller))


def file(method: str, caller: Caller, file_id: str) -> UpstreamRequest:
    """Return the request that retrieves or deletes a file."""
    return UpstreamRequest(method, _path(file_id), tenant=caller.tenant, headers=headers_of(caller))


def content(caller: Caller, file_id: str, span: Span) -> UpstreamRequest:
    """Return the request for the content of a file."""
    return UpstreamRequest(
        "GET",
        f"{_path(file_id)}/content",
        tenant=caller.tenant,
        headers=headers_of(caller) | span.headers,
        streamed=True,
    )


def _fields(upload: FileUpload, *, forwards_unknown: bool) -> list[tuple[str, str]]:
    """Return the form fields that have arrived so far."""
    check = refuse_known_names if forwards_unknown else refuse_unknown
    check(upload.additional_fields, known=FILE_FIELDS)
    given = {"purpose": upload.purpose}
    if upload.expires_after is not None:
        given["expires_after[anchor]"] = upload.expires_after.anchor
        given["expires_after[seconds]"] = str(upload.expires_after.seconds or "")
    return [(name, value) for name, value in given.items() if value] + form_fields(upload.additional_fields)


def _path(file_id: str) -> str:
    if not file_id:
        raise missing("file_id")
    if not is_identifier(file_id):
        raise file_not_found(file_id)
    return f"{_ROOT}/{quote(file_id, safe='')}"
