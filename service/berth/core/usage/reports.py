"""Reports usage to callers: what their own tenant has used, and what that is estimated to cost."""

from collections.abc import Callable
from datetime import UTC, date, datetime

from berth.core.caller import Caller
from berth.core.errors import StorageError
from berth.core.pagination import page_of, read_pagination
from berth.core.ports.usage_store import UsageFilter, UsageRow, UsageStore
from berth.core.providers import PROVIDERS, provider_name
from berth.core.usage.minutes import DAY_SECONDS
from berth.core.usage.prices import NANO, Prices
from berth.core.validation import invalid
from berth.v1.usage_pb2 import ContainerMinutes, Usage
from berth.v1.usage_service_pb2 import ListUsageRequest, ListUsageResponse

SETTLED_SECONDS = 5.0
"""How long running containers of a tenant are not counted again: many questions cost no more than one."""
MAX_SETTLED = 10_000
EPOCH_ORDINAL = date(1970, 1, 1).toordinal()
SECONDS_PER_HOUR = 3_600


class UsageReports:
    """Answers questions about usage from `store`; `timer` returns seconds from any starting point."""

    def __init__(self, store: UsageStore, prices: Prices, timer: Callable[[], float]) -> None:
        self._store = store
        self._prices = prices
        self._timer = timer
        self._settled: dict[str, float] = {}  # by tenant: until when; oldest first

    async def list_usage(self, caller: Caller, request: ListUsageRequest) -> ListUsageResponse:
        """Return a page of the usage of the caller's tenant.

        InvalidRequestError for a malformed field; PermissionDeniedError if the caller may not use the named provider.
        """
        wanted = _filter(caller, request)
        pagination = read_pagination(request)
        await self._settle(caller.tenant)
        page = await self._store.list_usage(wanted, pagination)
        data = [usage_of(row, self._prices) for row in page.data]
        response = page_of(ListUsageResponse, data, has_more=page.has_more)
        response.prices_as_of = self._prices.as_of
        if request.provider:
            response.extra_fields.provider = request.provider
        return response

    async def _settle(self, tenant: str) -> None:
        """Count what is running until now, unless that was done a moment ago. A failure must not prevent a read."""
        now = self._timer()
        if now < self._settled.get(tenant, now):
            return
        try:
            await self._store.settle(tenant=tenant)
        except StorageError:
            return
        self._settled.pop(tenant, None)
        self._settled[tenant] = now + SETTLED_SECONDS
        if len(self._settled) > MAX_SETTLED:
            del self._settled[next(iter(self._settled))]


def _filter(caller: Caller, request: ListUsageRequest) -> UsageFilter:
    if request.provider and request.provider not in PROVIDERS.values():
        raise invalid("provider", f"there is no provider {request.provider}")
    if request.provider:
        caller.require(request.provider)
    allowed = frozenset({request.provider}) if request.provider else caller.providers
    names = None if allowed is None else frozenset(map(provider_name, allowed))
    return UsageFilter(
        tenant=caller.tenant,
        key=request.key or None,
        providers=names if names is None or request.provider else names | {""},
        since_day=read_day(request.since, "since") if request.since else None,
        until_day=read_day(request.until, "until") if request.until else None,
    )


def read_day(text: str, param: str) -> int:
    """Return a day such as 2026-11-28 in days since 1970. InvalidRequestError, for `param`, if it is not one."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise invalid(param, "it must be a day such as 2026-11-28") from None
    return int(day.timestamp()) // DAY_SECONDS


def day_text(day: int) -> str:
    """Return a day, given in days since 1970, as text such as 2026-11-28."""
    return date.fromordinal(EPOCH_ORDINAL + day).isoformat()


def usage_of(row: UsageRow, prices: Prices) -> Usage:
    """Return a row as callers see it, with its estimated cost."""
    minutes = [
        ContainerMinutes(
            memory_limit=part.memory_limit,
            containers=part.containers,
            minutes=part.minutes,
            billed_minutes=part.billed_minutes,
        )
        for part in row.minutes
    ]
    return Usage(
        id=row.id,
        object="usage",
        day=day_text(row.day),
        key=row.key,
        provider=PROVIDERS.get(row.provider),
        containers=row.containers,
        container_minutes=minutes,
        stored_byte_hours=row.byte_seconds / SECONDS_PER_HOUR,
        bytes_in=row.bytes_in,
        bytes_out=row.bytes_out,
        calls=row.calls,
        execs=row.execs,
        exec_seconds=row.exec_milliseconds / 1000,
        estimated_cost_usd=prices.cost(row.billed) / NANO,
    )
