"""What a REST request says in its path and query and Envoy leaves to the service."""

from urllib.parse import parse_qsl

from google.protobuf.message import Message

from berth.core.checks import unexpected
from berth.core.enum_names import short_names
from berth.core.errors import NotFoundError
from berth.core.providers import unknown_provider
from berth.v1.provider_pb2 import Provider


def check_path(path: str) -> None:
    """Raise NotFoundError for a path that ends in a slash, which Envoy reads like the one without.

    It would be another operation than was sent: a file without an id is none, and
    not the folder that it would be in.
    """
    if path.endswith("/"):
        message = "Unknown request URL: the path must not end in a slash."
        raise NotFoundError(message, code="unknown_url")


def read_names(query: str, request: Message) -> None:
    """Set the enum fields of `request` that `query` names; an empty value is none.

    InvalidRequestError for a name that no value of the field has.
    """
    fields = request.DESCRIPTOR.fields_by_name
    for parameter, value in parse_qsl(query):
        field = fields.get(parameter)
        if field is None or field.enum_type is None:
            continue
        names = short_names(field.enum_type)
        if value not in names:
            is_provider = field.enum_type is Provider.DESCRIPTOR
            raise unknown_provider(value) if is_provider else unexpected(value, parameter, choices=names)
        setattr(request, parameter, names[value])
