"""UsageStore: the port for what tenants have used, and for what keys have spent.

Every method may raise StorageError.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.caller import Budget
from berth.core.ports.pages import Page, Pagination
from berth.core.usage.prices import BilledMinutes, Prices


class CallsOf(NamedTuple):
    """Which calls are counted together: those of a key of a tenant, about a provider, on a day.

    `provider` is "" for calls about none. `is_stranger` says that the caller is only known by a key of its own, which
    no provider may have accepted yet.
    """

    tenant: str
    key: str
    provider: str
    day: int
    is_stranger: bool = False


class CallCounts(NamedTuple):
    """A number of calls, and the bytes of their requests and responses."""

    calls: int
    bytes_in: int
    bytes_out: int


class MinutesRow(NamedTuple):
    """Containers with a memory size: how many were created on a day, and their minutes that began on it."""

    memory_limit: str
    containers: int
    minutes: int
    billed_minutes: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """What a key of a tenant used of a provider on a day, which is counted from 1970; `provider` may be ""."""

    id: str
    tenant: str
    key: str
    provider: str
    day: int
    containers: int
    minutes: Sequence[MinutesRow]
    calls: int
    bytes_in: int
    bytes_out: int
    byte_seconds: int
    execs: int = 0
    exec_milliseconds: int = 0

    @property
    def billed(self) -> Sequence[BilledMinutes]:
        """The minutes that are billed."""
        return [BilledMinutes(self.provider, part.memory_limit, part.billed_minutes) for part in self.minutes]


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which rows of usage are meant; None means all. Both days are included."""

    tenant: str | None = None
    key: str | None = None
    providers: frozenset[str] | None = None
    since_day: int | None = None
    until_day: int | None = None


class UsageStore(Protocol):
    """What tenants have used.

    Containers, their minutes and stored bytes are counted by the stores of containers and files.
    """

    async def count_calls(self, counts: Mapping[CallsOf, CallCounts]) -> None:
        """Add calls. Those of strangers are only added to tenants of which something was counted before."""

    async def settle(self, *, tenant: str | None = None) -> None:
        """Count what containers and files that exist have used until now: of a tenant, or of all."""

    async def list_usage(self, wanted: UsageFilter, pagination: Pagination) -> Page[UsageRow]:
        """Return a page of rows, by tenant, day, provider and key.

        InvalidRequestError (param `after`) if there is no row with the id `pagination.after` among those of the tenant.
        """


@dataclass(frozen=True, slots=True)
class Charge:
    """The minimum cost of a new container, which is charged to the budget of a key.

    `reservation` is the id under which it was reserved, None if it was not.
    """

    tenant: str
    key: str
    budget: Budget
    prices: Prices
    new: BilledMinutes
    reservation: str | None = None

    @property
    def cost(self) -> int:
        """The minimum cost, in nano-dollars."""
        return self.prices.cost([self.new])


class BudgetStore(Protocol):
    """What keys have spent in the current period of their budgets, and what is reserved."""

    async def remaining(self, tenant: str, key: str, *, budget: Budget, prices: Prices) -> int:
        """Return what is left of a budget, in nano-dollars; it is negative if more was spent."""

    async def reserve(self, charge: Charge, *, seconds: int) -> None:
        """Reserve a charge, which has an id for it, for some time. BudgetExceededError if the budget does not suffice.

        The reservation ends when the container is added, or with `release`.
        """

    async def release(self, charge: Charge) -> None:
        """End a reservation of a container that was not created."""
