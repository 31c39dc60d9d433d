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

    Keys that are reserved for a tenant are selected only where that `tenant` is given, and all others
    only where it is not.

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
        self._keys: dict[str, UpstreamKey] = {}
        self._provider = provider
        self._now = now
        self._random = random
        self._log = log
        self._metrics = metrics
        self._aside_until: dict[str, int] = {}
        self._in_flight: Counter[str] = Counter()
        self.replace(keys)

    def replace(self, keys: Sequence[UpstreamKey]) -> None:
        """Replace the configured keys. Only those with the same name and value remain put aside."""
        replaced, self._keys = self._keys, {key.name: key for key in keys}
        for name, key in replaced.items():
            if name not in self._keys or self._keys[name].value != key.value:
                self._aside_until.pop(name, None)

    def __len__(self) -> int:
        """Return how many keys are configured."""
        return len(self._keys)

    def __contains__(self, key: UpstreamKey) -> bool:
        """Return whether `key` is a configured one and not a caller's own."""
        configured = self._keys.get(key.name)
        return configured is not None and configured.value == key.value and not key.is_callers

    def first(self, tenant: str | None = None) -> UpstreamKey | None:
        """Return the first key that is reserved for `tenant`, or for none; None if there is no such key."""
        return next((key for key in self._keys.values() if key.tenant == tenant), None)

    def is_reserved(self, name: str, tenant: str) -> bool:
        """Return whether the key with this name is configured, and reserved for `tenant`."""
        return name in self._keys and self._keys[name].tenant == tenant

    def find(self, name: str, tenant: str | None) -> UpstreamKey | None:
        """Return a key by its name, None if it is no longer configured or reserved for another tenant."""
        key = self._keys.get(name)
        return key if key is not None and key.tenant in (None, tenant) else None

    def named(self, name: str, tenant: str | None = None) -> UpstreamKey:
        """Return a key by its name. UpstreamError if it is no longer configured, or reserved for another tenant."""
        key = self.find(name, tenant)
        if key is None:
            message = f"The key that the container was made with is no longer configured for {self._provider}."
            raise UpstreamError(message, code=EXHAUSTED, provider=self._provider)
        return key

    def choose(self, spent: Collection[str] = (), tenant: str | None = None) -> UpstreamKey:
        """Return a key, chosen by weight, that is usable and has a name not in `spent`.

        UpstreamError if all keys are put aside or spent; RateLimitError if the
        others have reached their limits of calls in flight.
        """
        ready = self._ready(spent, tenant)
        if not ready:
            raise self.exhausted()
        free = [key for key in ready if self._has_room(key)]
        if not free:
            raise _full()
        return self._draw(free)

    def has_other(self, spent: Collection[str], tenant: str | None = None) -> bool:
        """Return whether there is a usable key with a name not in `spent`."""
        return any(self._has_room(key) for key in self._ready(spent, tenant))

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

    def _ready(self, spent: Collection[str], tenant: str | None) -> list[UpstreamKey]:
        now, keys = self._now(), [key for key in self._keys.values() if key.tenant == tenant]
        return [key for key in keys if key.name not in spent and self._aside_until.get(key.name, now) <= now]

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
