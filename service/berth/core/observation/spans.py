"""Tracer and Span: the port through which the work on a call is described to a collector of traces.

Names and attributes follow the semantic conventions of OpenTelemetry. They never contain bodies, commands, keys, the
content of files or names that callers chose.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import TracebackType
from typing import Protocol, Self

from berth.core.errors import BerthError, StorageError, UpstreamError, UpstreamTimeoutError
from berth.core.observation.trace_context import TraceContext

Attributes = Mapping[str, str | int]
_FAILURES = (StorageError, UpstreamError, UpstreamTimeoutError)


class Kind(Enum):
    """What a span is about: work in this process, or a request to another system."""

    INTERNAL = auto()
    CLIENT = auto()


class Span(Protocol):
    """A part of the work on a call, from entering the context to leaving it; an error that passes is recorded."""

    def __enter__(self) -> Self:
        """Begin: further spans are parts of this one."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        """End."""

    def set(self, name: str, value: str | int) -> None:
        """Add an attribute."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed; `reason` is one of few words, such as a status."""


class CallSpan(Span, Protocol):
    """The span of a call; `trace_id` is that of its trace, in 32 hexadecimal digits."""

    trace_id: str


class Tracer(Protocol):
    """Describes calls and their parts. No method raises an error, and none waits."""

    def call(self, name: str, caller: TraceContext | None, attributes: Attributes) -> CallSpan:
        """Return the span of a call, in the trace of the caller if there is one."""

    def is_recording(self) -> bool:
        """Return whether a part would be recorded now."""

    def part(self, name: str, attributes: Attributes, *, kind: Kind = Kind.INTERNAL) -> Span:
        """Return a span of the current one; one that records nothing if there is none or its trace is not sampled."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that continue the current trace in another system."""


def is_failure(error: BaseException | None) -> bool:
    """Return whether an error means that something failed, and not that a caller was refused or left."""
    return isinstance(error, _FAILURES) or (isinstance(error, Exception) and not isinstance(error, BerthError))


class _NoSpan:
    """A span that records nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set(self, name: str, value: str | int) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""


class _NoCallSpan(_NoSpan):
    """The same for a call, in the trace that its caller has begun, if there is one."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id


class _NoTracer:
    """A tracer that describes nothing."""

    def call(self, _name: str, caller: TraceContext | None, _attributes: Attributes) -> CallSpan:
        """Return a span that records nothing."""
        return _NoCallSpan(caller.trace_id if caller else "")

    def is_recording(self) -> bool:
        """Return False."""
        return False

    def part(self, _name: str, _attributes: Attributes, *, kind: Kind = Kind.INTERNAL) -> Span:
        """Return a span that records nothing."""
        del kind
        return NO_SPAN

    def headers(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}


NO_SPAN: Span = _NoSpan()
NO_TRACER: Tracer = _NoTracer()
