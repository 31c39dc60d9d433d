"""The price table, with which the cost of containers is estimated.

Amounts are whole nano-dollars: sums of them are exact.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

NANO = 1_000_000_000
"""The nano-dollars of a dollar."""
PRICED_MINUTES = 20
"""Providers publish the price of this many minutes."""
PUBLIC_AS_OF = "2026"
"""When the prices in PUBLIC were read."""
PUBLIC = {"1g": 0.03, "4g": 0.12, "16g": 0.48, "64g": 1.92}
"""OpenAI's public prices by memory size, in US dollars per 20 minutes of a container."""

DEFAULT_MEMORY = "1g"
"""The memory size of a container if neither the request nor the provider says it."""


class BilledMinutes(NamedTuple):
    """Minutes of containers of a provider with a memory size that are billed."""

    provider: str
    memory_limit: str
    minutes: int


@dataclass(frozen=True, slots=True)
class Prices:
    """The prices of a minute, in nano-dollars, by provider and memory size; what is missing costs nothing.

    A memory size that Berth does not know, which only a provider can have, costs as much as the most expensive one of
    that provider: it would be a way around a budget otherwise. `as_of` says of when the prices are.
    """

    per_minute: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    as_of: str = PUBLIC_AS_OF

    def cost(self, billed: Iterable[BilledMinutes]) -> int:
        """Return the estimated cost of minutes, in nano-dollars."""
        return sum(self._of_minute(part.provider, part.memory_limit) * part.minutes for part in billed)

    def _of_minute(self, provider: str, memory_limit: str) -> int:
        prices = self.per_minute.get(provider, {})
        unknown = 0 if memory_limit in PUBLIC else max(prices.values(), default=0)
        return prices.get(memory_limit, unknown)


def price_of_minute(usd: float) -> int:
    """Return the price of a minute, in nano-dollars, if 20 minutes cost `usd` dollars."""
    return round(usd * NANO / PRICED_MINUTES)
