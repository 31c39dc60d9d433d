"""How long a call waits for its caller: for the first message, a JSON body, and the bytes of an upload."""

from dataclasses import dataclass
from time import monotonic

from berth.core.errors import SlowRequestError

FIRST_SECONDS = 10.0
"""How long the first message of a call may take to arrive; it carries the path and query of a REST request."""
GRACE_SECONDS = 60.0
"""How long the bytes of an upload may pause in total, in addition to what the minimum rate allows."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The limits of waiting. `bytes_per_second` is the minimum rate of a body, 0 for none."""

    json_seconds: float = 30.0
    bytes_per_second: int = 1024


DEFAULT_PATIENCE = Patience()


class Waiting:
    """Measures how long one call has waited for its caller, and how much has arrived.

    Time that the service needs to store what has arrived does not count.
    """

    __slots__ = ("_deadline", "_patience", "_received", "_waited")

    def __init__(self, patience: Patience = DEFAULT_PATIENCE) -> None:
        self._patience = patience
        self._received: int | None = None
        self._waited = 0.0
        self._deadline: float | None = None

    def expect_json(self) -> None:
        """Limit the whole time of the rest of the body, which is JSON."""
        self._deadline = monotonic() + self._patience.json_seconds

    def seconds(self) -> float | None:
        """Return how long the next message may take, None for any time. SlowRequestError if the time is used up."""
        if self._received is None:
            return FIRST_SECONDS
        limits = []
        if self._deadline is not None:
            limits.append(self._deadline - monotonic())
        if self._patience.bytes_per_second:
            limits.append(GRACE_SECONDS + self._received / self._patience.bytes_per_second - self._waited)
        if limits and min(limits) <= 0:
            raise self.too_slow()
        return min(limits, default=None)

    def count(self, size: int, waited: float) -> None:
        """Count a message of `size` bytes that took `waited` seconds to arrive."""
        self._waited += 0.0 if self._received is None else waited
        self._received = (self._received or 0) + size

    def too_slow(self) -> SlowRequestError:
        """Return the error of a caller that takes too long."""
        if self._received is None:
            return SlowRequestError(f"No message arrived within {FIRST_SECONDS:.0f} s.")
        if self._deadline is not None:
            return SlowRequestError(f"The body did not arrive within {self._patience.json_seconds:.0f} s.")
        rate = self._patience.bytes_per_second
        return SlowRequestError(f"The body arrived too slowly: at least {rate} bytes per second are expected.")
