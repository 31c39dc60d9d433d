"""OtelTracer: a Tracer on the SDK of OpenTelemetry."""

import random as chance
from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.trace import Span as SdkSpan

from berth.core.observation.spans import NO_SPAN, Attributes, CallSpan, Kind, Span, is_failure
from berth.core.observation.trace_context import PARENT, STATE, TraceContext

MAX_PARTS = 256
"""How many spans a call may have besides its own. Following a command for hours would have any number of them."""
OMITTED = "berth.spans.omitted"
"""The attribute of a call that says how many further spans were left out."""
_ERROR_TYPE = "error.type"
_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.CLIENT: SpanKind.CLIENT}
_HEXADECIMAL = 16
_EMPTY = Context()


class _Call:
    """What the spans of a call share: how many there are."""

    __slots__ = ("omitted", "parts")

    def __init__(self) -> None:
        self.parts = self.omitted = 0

    def has_room(self) -> bool:
        """Count one more span; return whether it may be recorded."""
        if self.parts >= MAX_PARTS:
            self.omitted += 1
            return False
        self.parts += 1
        return True


_Place = tuple[SdkSpan, _Call]
_CURRENT: ContextVar["_Place | _Unrecorded | None"] = ContextVar("berth_span", default=None)


class OtelTracer:
    """A Tracer that gives spans to `processor`, and continues the traces of callers.

    Of the traces that begin here it records a part, `sampling_ratio`; of others those that are sampled already.
    `resource` says what records them. The SDK sees only what is recorded: it would take four times as long as this for
    all others.
    """

    def __init__(self, processor: SpanProcessor, *, sampling_ratio: float, resource: Mapping[str, str]) -> None:
        provider = TracerProvider(sampler=ALWAYS_ON, resource=Resource.create(dict(resource)), shutdown_on_exit=False)
        provider.add_span_processor(processor)
        self._tracer = provider.get_tracer("berth")
        self._sampling_ratio = sampling_ratio

    def call(self, name: str, caller: TraceContext | None, attributes: Attributes) -> CallSpan:
        """Return the span of a call; see Tracer."""
        if not (self._is_chosen() if caller is None else caller.is_sampled):
            return _Unrecorded(caller)
        parent = _EMPTY if caller is None else trace.set_span_in_context(_remote(caller), _EMPTY)
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        return _CallSpan(span, _Call())

    def _is_chosen(self) -> bool:
        return chance.random() < self._sampling_ratio  # noqa: S311 - nothing secret depends on it

    def is_recording(self) -> bool:
        """Return whether a part would be recorded; see Tracer."""
        return type(_CURRENT.get()) is tuple

    def part(self, name: str, attributes: Attributes, *, kind: Kind = Kind.INTERNAL) -> Span:
        """Return a span of the current one; see Tracer."""
        place = _CURRENT.get()
        if place is None or isinstance(place, _Unrecorded) or not place[1].has_room():
            return NO_SPAN
        parent = trace.set_span_in_context(place[0], _EMPTY)
        return _PartSpan(self._tracer.start_span(name, parent, _KINDS[kind], attributes), place[1])

    def headers(self) -> Mapping[str, str]:
        """Return the headers that continue the current trace; see Tracer."""
        place = _CURRENT.get()
        if place is None:
            return {}
        if isinstance(place, _Unrecorded):
            return place.headers()
        context = place[0].get_span_context()
        headers = {PARENT: f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
        return {**headers, STATE: context.trace_state.to_header()} if context.trace_state else headers


class _Unrecorded:
    """The span of a call in a trace that is not recorded, but continued: its ids are in the log and in headers."""

    __slots__ = ("_state", "_token", "trace_id")

    def __init__(self, caller: TraceContext | None) -> None:
        self.trace_id = f"{_random_id(128):032x}" if caller is None else caller.trace_id
        self._state = caller.state if caller else ""
        self._token: Token[_Place | _Unrecorded | None] | None = None

    def __enter__(self) -> Self:
        self._token = _CURRENT.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)

    def set(self, name: str, value: str | int) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def headers(self) -> Mapping[str, str]:
        """Return the headers that continue the trace."""
        headers = {PARENT: f"00-{self.trace_id}-{_random_id(64):016x}-00"}
        state = TraceState.from_header([self._state]).to_header() if self._state else ""
        return {**headers, STATE: state} if state else headers


def _random_id(bits: int) -> int:
    """Return an id, which is never 0."""
    return chance.getrandbits(bits) or 1  # as the SDK does


class _Span:
    """A span that is the current one while its context lasts."""

    __slots__ = ("_call", "_span", "_token")

    def __init__(self, span: SdkSpan, call: _Call) -> None:
        self._span = span
        self._call = call
        self._token: Token[_Place | _Unrecorded | None] | None = None

    def __enter__(self) -> Self:
        self._token = _CURRENT.set((self._span, self._call))
        return self

    def set(self, name: str, value: str | int) -> None:
        """Add an attribute."""
        self._span.set_attribute(name, value)

    def fail(self, reason: str) -> None:
        """Mark the span as failed, without the text of an error: it may contain what callers sent."""
        self._span.set_attribute(_ERROR_TYPE, reason)
        self._span.set_status(Status(StatusCode.ERROR))

    def _leave(self) -> None:
        if self._token is not None:
            _CURRENT.reset(self._token)
        self._span.end()


class _PartSpan(_Span):
    """The span of a part of a call."""

    __slots__ = ()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> None:
        if error is not None and is_failure(error):
            self.fail(type(error).__name__)
        self._leave()


class _CallSpan(_Span):
    """The span of a call. How the call ended is said by those who know its status."""

    __slots__ = ("trace_id",)

    def __init__(self, span: SdkSpan, call: _Call) -> None:
        super().__init__(span, call)
        self.trace_id = f"{span.get_span_context().trace_id:032x}"

    def __exit__(self, *_: object) -> None:
        if self._call.omitted:
            self.set(OMITTED, self._call.omitted)
        self._leave()


def _remote(caller: TraceContext) -> SdkSpan:
    """Return the span of the caller, as far as it is known here."""
    context = SpanContext(
        int(caller.trace_id, _HEXADECIMAL),
        int(caller.span_id, _HEXADECIMAL),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if caller.is_sampled else TraceFlags.DEFAULT),
        trace_state=TraceState.from_header([caller.state]) if caller.state else None,
    )
    return NonRecordingSpan(context)
