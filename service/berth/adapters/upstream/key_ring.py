"""KeyRing: the configured keys of a provider, chosen by weight, availability and calls in flight."""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

from structlog.typing import FilteringBoundLogger

from berth.adapters.upstream.settings import UpstreamKey
from berth.core.errors import RateLimitError, UpstreamError
from berth.core.ports.metrics import Metrics

ASIDE_SECONDS = 60
"""How long a key that the provider has refused is not used for new resources."""
EXHAUSTED = "upstream_credentials_exhausted"


class KeyRing:
    """Selects keys for new resources by weight, and the keys of existing ones by name.

    `now` returns seconds since 1970, `random` a number in [0, 1).
    """

    def __init__(
        self,
        keys: Sequence[UpstreamKey],
        *,
        provider: str,
        now: Callable[[], int],
        random: Callable[[], float],
        log: FilteringBoundLogger,
        metrics: Metrics,
    ) -> None:
        self._keys = {key.name: key for key in keys}
        self._provider = provider
        self._now = now
        self._random = random
        self._log = log
        self._metrics = metrics
        self._aside_until: dict[str, int] = {}
        self._in_flight: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many keys are configured."""
        return len(self._keys)

    def __contains__(self, key: UpstreamKey) -> bool:
        """Return whether `key` is a configured one and not a caller's own."""
        return self._keys.get(key.name) is key

    def named(self, name: str) -> UpstreamKey:
        """Return a key by its name. UpstreamError if it is no longer configured."""
        key = self._keys.get(name)
        if key is None:
            message = f"The key that the container was made with is no longer configured for {self._provider}."
            raise UpstreamError(message, code=EXHAUSTED, provider=self._provider)
        return key

    def choose(self, spent: Collection[str] = ()) -> UpstreamKey:
        """Return a key, chosen by weight, that is usable and has a name not in `spent`.

        UpstreamError if all keys are put aside or spent; RateLimitError if the
        others have reached their limits of calls in flight.
        """
        ready = self._ready(spent)
        if not ready:
            raise self.exhausted()
        free = [key for key in ready if self._has_room(key)]
        if not free:
            raise _full()
        return self._draw(free)

    def has_other(self, spent: Collection[str]) -> bool:
        """Return whether there is a usable key with a name not in `spent`."""
        return any(self._has_room(key) for key in self._ready(spent))

    def put_aside(self, key: UpstreamKey, *, status: int) -> None:
        """Exclude `key`, which the provider refused with `status`, from new resources for ASIDE_SECONDS."""
        self._aside_until[key.name] = self._now() + ASIDE_SECONDS
        self._metrics.key_put_aside(self._provider, key=key.name)
        self._log.warning(
            "upstream.key_put_aside", provider=self._provider, key=key.name, status=status, seconds=ASIDE_SECONDS
        )

    def exhausted(self) -> UpstreamError:
        """Return the error for a provider that accepts none of the configured keys."""
        message = f"{self._provider} does not accept the configured keys."
        return UpstreamError(message, code=EXHAUSTED, provider=self._provider)

    def take(self, key: UpstreamKey) -> None:
        """Count the start of a call. RateLimitError if `key` has reached its limit of calls in flight."""
        if key.max_in_flight is not None:
            if not self._has_room(key):
                raise _full()
            self._in_flight[key.name] += 1

    def give_back(self, key: UpstreamKey) -> None:
        """Count the end of a call."""
        if key.max_in_flight is not None:
            self._in_flight[key.name] -= 1

    def _ready(self, spent: Collection[str]) -> list[UpstreamKey]:
        now = self._now()
        return [
            key for name, key in self._keys.items() if name not in spent and self._aside_until.get(name, now) <= now
        ]

    def _has_room(self, key: UpstreamKey) -> bool:
        return key.max_in_flight is None or self._in_flight[key.name] < key.max_in_flight

    def _draw(self, keys: Sequence[UpstreamKey]) -> UpstreamKey:
        point = self._random() * sum(key.weight for key in keys)
        for key in keys:
            point -= key.weight
            if point < 0:
                return key
        return keys[-1]


def _full() -> RateLimitError:
    message = "The provider's keys have reached their limits of calls in flight."
    return RateLimitError(message, code="request_limited", retry_after_seconds=1)
