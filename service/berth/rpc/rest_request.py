"""Read the parts of a REST request's path and query that Envoy leaves to the service."""

from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.message import Message

from berth.core.enum_names import short_names
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.providers import unknown_provider
from berth.core.routing.container_ownership import STATUS_FILTERS
from berth.core.validation import invalid, shown, unexpected, unknown_parameter
from berth.v1.container_pb2 import ContainerStatus
from berth.v1.provider_pb2 import Provider

_BODY = "body"
_IGNORED = frozenset({"api-version"})
"""Parameters to ignore: Azure's SDKs add this one to every query."""


def check_path(path: str) -> None:
    """Raise NotFoundError for a path that ends in a slash, because Envoy ignores that slash.

    Without it, the path could name another operation: a file with an empty id does not exist, and
    must not become the list of files.
    """
    if path.endswith("/"):
        message = "Unknown request URL: the path must not end in a slash."
        raise NotFoundError(message, code="unknown_url")


def read_query(query: str, request: Message, *, names: Collection[str] | None = None) -> None:
    """Set the enum fields of `request` that `query` names. An empty value sets nothing.

    `names` are the parameters that the operation has; None allows all fields of `request`.
    InvalidRequestError for a value that the field does not have, and for what Envoy accepts: an
    unknown parameter, a parameter without a value, and one that is given twice, unless it is a list.
    """
    fields = request.DESCRIPTOR.fields_by_name
    known = [name for name in fields if name != _BODY] if names is None else names
    seen = set[str]()
    for parameter, value in _parameters(query):
        name = parameter.partition(".")[0]
        if name in _IGNORED:
            continue
        if name not in known:
            raise unknown_parameter(shown(parameter), known)
        if value is None:
            raise invalid(shown(parameter), "it has no value")
        field = fields.get(parameter)
        if parameter in seen and not (field and field.is_repeated):
            raise _duplicate(shown(parameter))
        seen.add(parameter)
        enum = field.enum_type if field else None
        if enum is not None and value:
            setattr(request, parameter, _number(value, parameter, enum))


def _parameters(query: str) -> Iterator[tuple[str, str | None]]:
    """Yield each parameter and its value; the value is None if there is no equals sign."""
    for pair in query.split("&"):
        for parameter, value in parse_qsl(pair, keep_blank_values=True):
            yield parameter, value if "=" in pair else None


def _duplicate(parameter: str) -> InvalidRequestError:
    message = f"Duplicate parameter: '{parameter}'."
    return InvalidRequestError(message, param=parameter, code="duplicate_parameter")


def _number(value: str, parameter: str, enum: Any) -> int:
    names = short_names(enum)
    if value not in names:
        choices = STATUS_FILTERS.values() if enum is ContainerStatus.DESCRIPTOR else names
        raise unknown_provider(value) if enum is Provider.DESCRIPTOR else unexpected(value, parameter, choices=choices)
    return names[value]
