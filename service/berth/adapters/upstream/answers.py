"""Converts between the JSON of a provider and the messages of the contract.

Responses are read leniently: fields may be missing or null, and numbers may be
strings. A response that cannot be interpreted at all is an UpstreamError.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import orjson
from google.protobuf.json_format import MessageToDict

from berth.adapters.upstream.additional import with_additional
from berth.adapters.upstream.errors import unreadable
from berth.core.pagination import page_of
from berth.core.ports.backend import Upload
from berth.core.providers import PROVIDERS
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import ListContainerFilesResponse
from berth.v1.container_pb2 import (
    Container,
    ContainerStatus,
    ExpiresAfter,
    NetworkPolicy,
    NetworkPolicyType,
)
from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersResponse
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import ListFilesResponse

_STATUS, _POLICY = "CONTAINER_STATUS_", "NETWORK_POLICY_TYPE_"
_STATUSES = {name.removeprefix(_STATUS).lower(): name for name in ContainerStatus.keys()[1:]}
_POLICIES = {name.removeprefix(_POLICY).lower(): name for name in NetworkPolicyType.keys()[1:]}
_IDENTIFIER = re.compile(r"[\w.~:@!$&'()*+,=|^-]{1,1024}", re.ASCII)
"""An id without characters that have a special meaning in a path or a query, or to a proxy."""
_MAX_ID_BYTES = 512
"""The longest id that a provider may give; the ids of earlier versions may have 1024 bytes."""
_MAX_INTEGER = 4294967295
"""The largest integer of the contract; see `maximum` in proto/berth/v1."""

T = TypeVar("T")
Page = TypeVar("Page", ListContainersResponse, ListContainerFilesResponse, ListFilesResponse)


class _MalformedError(Exception):
    """Raised, inside of this module, for a field with a value of the wrong type."""


def new_container_json(request: CreateContainerRequest) -> dict[str, object]:
    """Return the JSON body that creates the container of `request`: its fields except `provider`."""
    body: dict[str, Any] = MessageToDict(request, preserving_proto_field_name=True)
    for name in ("provider", "additional_fields"):
        body.pop(name, None)
    policy = body.get("network_policy", {})
    if isinstance(policy.get("type"), str):
        policy["type"] = policy["type"].removeprefix(_POLICY).lower()
    return with_additional(body, request.additional_fields)


def copied_file_json(upload: Upload) -> dict[str, object]:
    """Return the JSON body that copies an existing file into a container."""
    body: dict[str, object] = {} if upload.file_id is None else {"file_id": upload.file_id}
    if upload.file_path is not None:
        body["file_path"] = upload.file_path
    return with_additional(body, upload.additional_fields)


def container_of(value: object, *, provider: str) -> Container:
    """Return the container that a JSON object describes. UpstreamError if it is not a container."""
    container = _read(_container, value, provider=provider, resource="container")
    container.provider = PROVIDERS[provider]
    return container


def containers_of(value: object, *, provider: str) -> ListContainersResponse:
    """Return the page of containers that a JSON object describes. UpstreamError if it is not such a page."""
    page = _read(
        lambda fields: _page(fields, _container, ListContainersResponse),
        value,
        provider=provider,
        resource="list of containers",
    )
    for container in page.data:
        container.provider = PROVIDERS[provider]
    return page


def file_of(value: object, *, provider: str, container_id: str) -> ContainerFile:
    """Return the container file that a JSON object describes. UpstreamError if it is not a container file."""
    return _read(lambda fields: _file(fields, container_id), value, provider=provider, resource="file")


def files_of(value: object, *, provider: str, container_id: str) -> ListContainerFilesResponse:
    """Return the page of container files that a JSON object describes. UpstreamError if it is not such a page."""
    return _read(
        lambda fields: _page(fields, lambda item: _file(item, container_id), ListContainerFilesResponse),
        value,
        provider=provider,
        resource="list of files",
    )


def tenant_file_of(value: object, *, provider: str) -> File:
    """Return the file of the Files API that a JSON object describes. UpstreamError if it is not a file."""
    return _read(_tenant_file, value, provider=provider, resource="file")


def tenant_files_of(value: object, *, provider: str) -> ListFilesResponse:
    """Return the page of files of the Files API that a JSON object describes. UpstreamError if it is not one."""
    return _read(
        lambda fields: _page(fields, _tenant_file, ListFilesResponse),
        value,
        provider=provider,
        resource="list of files",
    )


def is_identifier(value: str) -> bool:
    """Return whether `value` can be an id and is safe as a segment of a path."""
    return _IDENTIFIER.fullmatch(value) is not None and value not in {".", ".."}


def _read(read: Callable[[Mapping[str, object]], T], value: object, *, provider: str, resource: str) -> T:
    try:
        return read(_object(value))
    except _MalformedError:
        raise unreadable(provider, f"with something that is not a {resource}") from None


def _container(fields: Mapping[str, object]) -> Container:
    container = Container(
        id=_id(fields, "container"),
        object="container",
        name=_text(fields, "name"),
        created_at=_integer(fields, "created_at"),
        status=_STATUSES.get(_text(fields, "status") or ""),
        last_active_at=_integer(fields, "last_active_at"),
        memory_limit=_text(fields, "memory_limit"),
    )
    if fields.get("expires_after") is not None:
        container.expires_after.CopyFrom(_expiry(_object(fields["expires_after"])))
    if fields.get("network_policy") is not None:
        policy = _policy(_object(fields["network_policy"]))
        if policy.type:  # one that the contract does not know cannot be said in it
            container.network_policy.CopyFrom(policy)
    if fields.get("metadata") is not None:
        container.metadata.update(_metadata(_object(fields["metadata"])))
    return container


def _expiry(fields: Mapping[str, object]) -> ExpiresAfter:
    minutes = _integer(fields, "minutes")
    if minutes is not None and minutes >= 2**31:
        raise _MalformedError
    return ExpiresAfter(anchor=_text(fields, "anchor"), minutes=minutes)


def _policy(fields: Mapping[str, object]) -> NetworkPolicy:
    kind = _POLICIES.get(_text(fields, "type") or "")
    domains = [domain for domain in _array(fields, "allowed_domains") if isinstance(domain, str)]
    return NetworkPolicy(type=kind, allowed_domains=domains)


def _metadata(fields: Mapping[str, object]) -> dict[str, str]:
    try:
        return {
            name: value if isinstance(value, str) else orjson.dumps(value).decode() for name, value in fields.items()
        }
    except TypeError:  # nested more deeply than orjson writes
        raise _MalformedError from None


def _file(fields: Mapping[str, object], container_id: str) -> ContainerFile:
    return ContainerFile(
        id=_id(fields, "container.file"),
        object="container.file",
        container_id=container_id,
        path=_text(fields, "path"),
        bytes=_integer(fields, "bytes"),
        created_at=_integer(fields, "created_at"),
        source=_text(fields, "source"),
    )


def _page(fields: Mapping[str, object], read: Callable[[Mapping[str, object]], object], kind: type[Page]) -> Page:
    if not isinstance(fields.get("data"), list):
        raise _MalformedError
    items = [read(_object(item)) for item in _array(fields, "data")]
    return page_of(kind, items, has_more=fields.get("has_more") in (True, "true"))


def _tenant_file(fields: Mapping[str, object]) -> File:
    return File(
        id=_id(fields, "file"),
        object="file",
        bytes=_integer(fields, "bytes"),
        created_at=_integer(fields, "created_at"),
        expires_at=_integer(fields, "expires_at"),
        filename=_text(fields, "filename"),
        purpose=_text(fields, "purpose"),
        status=_text(fields, "status"),
    )


def _id(fields: Mapping[str, object], kind: str) -> str:
    value = _text(fields, "id") or ""
    if not is_identifier(value) or len(value) > _MAX_ID_BYTES or fields.get("object") not in (kind, None):
        raise _MalformedError
    return value


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _MalformedError
    return value


def _array(fields: Mapping[str, object], name: str) -> list[object]:
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _MalformedError
    return value


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is None or isinstance(value, str):
        return value
    raise _MalformedError


def _integer(fields: Mapping[str, object], name: str) -> int | None:
    """Return an integer that is given as a number or as a string."""
    value = fields.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _MalformedError
    try:
        number = int(value) if isinstance(value, int) else int(float(value))
    except (ValueError, OverflowError):
        raise _MalformedError from None
    if not 0 <= number <= _MAX_INTEGER:
        raise _MalformedError
    return number
