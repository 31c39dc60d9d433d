"""What each operation on a file, in no container, sends to a provider; see `orders`."""

from urllib.parse import quote

from berth.adapters.upstream.answers import is_identifier
from berth.adapters.upstream.download import Span
from berth.adapters.upstream.form import UploadForm
from berth.adapters.upstream.orders import headers_of
from berth.adapters.upstream.session import Order
from berth.core.caller import Caller
from berth.core.checks import missing, shown
from berth.core.errors import NotFoundError
from berth.core.file_backend import FileUpload

_ROOT = "/files"


def new_file(caller: Caller, upload: FileUpload) -> Order:
    """Return what makes a file. InvalidRequestError for a name that cannot be; the provider judges the rest."""
    form = UploadForm(upload, lambda: _fields(upload))
    return Order("POST", _ROOT, headers=headers_of(caller), form=form)


def file(method: str, caller: Caller, file_id: str) -> Order:
    """Return what retrieves or deletes a file."""
    return Order(method, _path(file_id), headers=headers_of(caller))


def content(caller: Caller, file_id: str, span: Span) -> Order:
    """Return what opens a file."""
    return Order("GET", f"{_path(file_id)}/content", headers=headers_of(caller) | span.headers, streamed=True)


def _fields(upload: FileUpload) -> dict[str, str]:
    """Return the fields of the form that are known by now."""
    given = {"purpose": upload.purpose}
    if upload.expires_after is not None:
        given["expires_after[anchor]"] = upload.expires_after.anchor
        given["expires_after[seconds]"] = str(upload.expires_after.seconds or "")
    return {name: value for name, value in given.items() if value}


def _path(file_id: str) -> str:
    if not file_id:
        raise missing("file_id")
    if not is_identifier(file_id):
        raise NotFoundError(f"File {shown(file_id)} not found.")
    return f"{_ROOT}/{quote(file_id, safe='')}"
