"""The context of a trace in the headers of a request, as W3C Trace Context defines it."""

import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Self

PARENT, STATE = "traceparent", "tracestate"
"""The names of the headers."""
MAX_STATE_LENGTH = 512
"""How long a `tracestate` may be; a longer one is dropped, as the recommendation allows."""
_PARENT = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.{0,256})?")
_SAMPLED = 1
_ID = re.compile(r"(?!0{32})[0-9a-f]{32}")
_OWN = "req_"
"""How ids begin that the service gives to requests."""


@dataclass(frozen=True, slots=True)
class TraceContext:
    """Where a call belongs: the ids of its trace and of the span that has called, in hexadecimal digits.

    `is_sampled` is whether the trace is recorded; `state` is what tracing systems say about it.
    """

    trace_id: str
    span_id: str
    is_sampled: bool
    state: str = ""

    @classmethod
    def parse(cls, parent: str, state: str = "") -> Self | None:
        """Return the context in the values of both headers; None if that of `traceparent` is not valid."""
        found = _PARENT.fullmatch(parent)
        if found is None:
            return None
        version, trace_id, span_id, flags, more = found.groups()
        if version == "00" and more:
            return None
        known = state if len(state) <= MAX_STATE_LENGTH else ""
        return cls(trace_id, span_id, is_sampled=bool(int(flags, 16) & _SAMPLED), state=known)


def trace_id_of(request_id: str) -> str:
    """Return the id of a trace, in 32 hexadecimal digits, for a request that is in none.

    It is the id of the request itself, without hyphens, where that is a UUID or made by the service, and a hash of any
    other id.
    """
    digits = request_id.removeprefix(_OWN).replace("-", "")
    return digits if _ID.fullmatch(digits) else blake2b(request_id.encode(), digest_size=16).hexdigest()
