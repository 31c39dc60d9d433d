"""What the metadata of a request say: who calls, from where, over what, and what beside the operation is asked for."""

from collections.abc import Callable

from berth.core.auth.credentials import HEADERS
from berth.rpc import options
from berth.rpc.bodies import conditions
from berth.rpc.call import Call
from berth.rpc.peer import CLIENT, FORWARDED_CERTIFICATE, FORWARDED_FOR
from berth.v1.provider_pb2 import PROVIDER_OPENAI

MAX_REQUEST_ID_LENGTH = 128
_MAX_DIGITS = 18
_OPENAI_PATHS = "/openai/"


def read_metadata(call: Call, new_request_id: Callable[[], str]) -> None:
    """Set in `call` what its metadata say, and a new request id where they have none."""
    for name, value in call.context.invocation_metadata() or ():
        read = _READERS.get(name)
        if read is not None and isinstance(value, str):
            read(call, name, value)
    call.request_id = call.request_id or new_request_id()


def _read_credential(call: Call, name: str, value: str) -> None:
    call.credentials.append((name, value))


def _read_option(call: Call, name: str, value: str) -> None:
    call.options[name] = value


def _read_condition(call: Call, name: str, value: str) -> None:
    call.conditions[name] = value


def _read_request_id(call: Call, _: str, value: str) -> None:
    # Anything else cannot be sent back: grpc would drop the whole answer for it.
    if value.isascii() and value.isprintable():
        call.request_id = value[:MAX_REQUEST_ID_LENGTH]


def _read_origin(call: Call, name: str, value: str) -> None:
    call.forwarded[name] = value


def _read_path(call: Call, _: str, value: str) -> None:
    call.is_rest = True
    call.path, _, call.query = value.partition("?")
    if value.startswith(_OPENAI_PATHS):
        call.default_provider = PROVIDER_OPENAI


def _read_length(call: Call, _: str, value: str) -> None:
    is_number = value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS
    call.content_length = int(value) if is_number else None


def _read_head(call: Call, _: str, __: str) -> None:
    call.is_head = True


_READERS: dict[str, Callable[[Call, str, str], None]] = {
    **dict.fromkeys(HEADERS, _read_credential),
    **dict.fromkeys(options.HEADERS, _read_option),
    **dict.fromkeys(conditions.HEADERS, _read_condition),
    **dict.fromkeys((CLIENT, FORWARDED_FOR, FORWARDED_CERTIFICATE), _read_origin),
    "x-request-id": _read_request_id,
    "x-envoy-original-path": _read_path,  # the path of a REST request, as it was sent
    "x-berth-content-length": _read_length,  # the length of a REST body, which the transcoder takes away
    "x-berth-head": _read_head,
}
