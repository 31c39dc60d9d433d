"""Read the metadata of a request: its id, credentials, options, source and, over REST, path and conditions."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from berth.core.auth.credentials import HEADERS
from berth.core.observation.trace_context import PARENT, STATE, TraceContext
from berth.rpc import options
from berth.rpc.bodies import conditions
from berth.rpc.mcp import headers
from berth.rpc.peer import CLIENT, FORWARDED_FOR
from berth.rpc.tls.forwarded import FORWARDED_CERTIFICATE
from berth.v1.provider_pb2 import PROVIDER_OPENAI, PROVIDER_UNSPECIFIED, Provider

MAX_REQUEST_ID_LENGTH = 128
_MAX_DIGITS = 18
_OPENAI_PATHS = "/openai/"


@dataclass(slots=True)
class Head:
    """The parsed metadata of a call.

    `forwarded` holds headers of proxies; `default_provider` is the one that the path implies. The
    fields after it are for REST requests only; `conditions` are the headers that
    `bodies.conditions` reads, and `mcp` those that `mcp.headers` reads. `trace_parent` and
    `trace_state` are the headers of W3C Trace Context.
    """

    request_id: str = ""
    credentials: list[tuple[str, str]] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    forwarded: dict[str, str] = field(default_factory=dict)
    default_provider: Provider = PROVIDER_UNSPECIFIED
    is_rest: bool = False
    is_head: bool = False
    path: str = ""
    query: str = ""
    conditions: dict[str, str] = field(default_factory=dict)
    content_length: int | None = None
    mcp: dict[str, str] = field(default_factory=dict)
    trace_parent: str = ""
    trace_state: str = ""

    def trace_context(self) -> TraceContext | None:
        """Return the context of the trace to which the request belongs; None if it names none."""
        return TraceContext.parse(self.trace_parent, self.trace_state) if self.trace_parent else None


def read_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> Head:
    """Return the parsed `metadata`; binary values are ignored."""
    head = Head()
    for name, value in metadata:
        read = _READERS.get(name)
        if read is not None and isinstance(value, str):
            read(head, name, value)
    return head


def _read_credential(head: Head, name: str, value: str) -> None:
    head.credentials.append((name, value))


def _read_option(head: Head, name: str, value: str) -> None:
    head.options[name] = value


def _read_condition(head: Head, name: str, value: str) -> None:
    head.conditions[name] = value


def _read_mcp(head: Head, name: str, value: str) -> None:
    head.mcp[name] = value


def _read_trace(head: Head, name: str, value: str) -> None:
    # The state may be in several headers, which are one list. Several parents are none, because they cannot be parsed.
    if name == PARENT:
        head.trace_parent = f"{head.trace_parent},{value}" if head.trace_parent else value
    else:
        head.trace_state = f"{head.trace_state},{value}" if head.trace_state else value


def _read_request_id(head: Head, _: str, value: str) -> None:
    # Anything else cannot be sent back: grpc would drop the whole response because of it.
    if value.isascii() and value.isprintable():
        head.request_id = value[:MAX_REQUEST_ID_LENGTH]


def _read_origin(head: Head, name: str, value: str) -> None:
    # Some proxies append a header of their own instead of a value; several headers of a name are one list.
    head.forwarded[name] = f"{head.forwarded[name]},{value}" if name in head.forwarded else value


def _read_path(head: Head, _: str, value: str) -> None:
    head.is_rest = True
    head.path, _, head.query = value.partition("?")
    if value.startswith(_OPENAI_PATHS):
        head.default_provider = PROVIDER_OPENAI


def _read_length(head: Head, _: str, value: str) -> None:
    is_number = value.isascii() and value.isdecimal() and len(value) <= _MAX_DIGITS
    head.content_length = int(value) if is_number else None


def _read_head(head: Head, _: str, __: str) -> None:
    head.is_head = True


_READERS: dict[str, Callable[[Head, str, str], None]] = {
    **dict.fromkeys(HEADERS, _read_credential),
    **dict.fromkeys(options.HEADERS, _read_option),
    **dict.fromkeys(conditions.HEADERS, _read_condition),
    **dict.fromkeys(headers.HEADERS, _read_mcp),
    **dict.fromkeys((CLIENT, FORWARDED_FOR, FORWARDED_CERTIFICATE), _read_origin),
    **dict.fromkeys((PARENT, STATE), _read_trace),
    "x-request-id": _read_request_id,
    "x-envoy-original-path": _read_path,  # the path of a REST request, as the caller sent it
    "x-berth-content-length": _read_length,  # the length of a REST body, which the transcoder removes
    "x-berth-head": _read_head,
}
