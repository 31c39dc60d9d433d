"""SqlUsage: the UsageStore and the BudgetStore in a database."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import orjson

from berth.adapters.sql.database import Database, Row, Transaction
from berth.adapters.sql.errors import bad_cursor
from berth.adapters.sql.usage.counting import Owner, count_calls, is_known, store_bytes
from berth.adapters.sql.usage.meters import read_all_meters
from berth.adapters.sql.usage.spending import SPENT, release, reserve, spending_values
from berth.core.caller import Budget
from berth.core.ports.pages import Page, Pagination
from berth.core.ports.usage_store import CallCounts, CallsOf, Charge, MinutesRow, UsageFilter, UsageRow
from berth.core.usage.prices import BilledMinutes, Prices

_STEP = 100
"""How many accounts are counted in one transaction: other writes wait for it."""
_ACCOUNTS = """
    SELECT tenant, key_name, provider FROM stored_bytes
    WHERE bytes != 0 AND (tenant, key_name, provider) > (:tenant, :key, :provider)
    ORDER BY tenant, key_name, provider LIMIT :limit
"""
_ACCOUNTS_OF_TENANT = """
    SELECT tenant, key_name, provider FROM stored_bytes
    WHERE bytes != 0 AND tenant = :tenant AND (key_name, provider) > (:key, :provider)
    ORDER BY key_name, provider LIMIT :limit
"""
_COLUMNS = (
    "id, tenant, key_name, provider, day, containers, calls, bytes_in, bytes_out, byte_seconds, execs, exec_ms, seq"
)
_ORDER = ("tenant", "day", "provider", "key_name")
_CURSOR = f"SELECT {', '.join(_ORDER)} FROM usage WHERE id = ?"  # noqa: S608 - constants
_MINUTES = """
    SELECT usage_seq, memory_limit, containers, minutes, billed_minutes FROM usage_minutes
    WHERE usage_seq IN (SELECT CAST(value AS BIGINT) FROM json_each(:seqs)) ORDER BY memory_limit
"""


class SqlUsage:
    """A UsageStore and a BudgetStore in `database`; `now` gives seconds since 1970, by default the database's."""

    def __init__(self, database: Database, *, now: Callable[[], float] | None = None) -> None:
        self._database = database
        self._now = now or database.now

    async def count_calls(self, counts: Mapping[CallsOf, CallCounts]) -> None:
        """Add calls; see UsageStore."""
        await self._database.write(lambda transaction: _count_all_calls(transaction, counts))

    async def settle(self, *, tenant: str | None = None) -> None:
        """Count what exists until now; see UsageStore."""
        await read_all_meters(self._database, tenant=tenant, now=self._now)
        await self._count_stored(tenant)

    async def list_usage(self, wanted: UsageFilter, pagination: Pagination) -> Page[UsageRow]:
        """Return a page of rows; see UsageStore."""
        cursor = await self._cursor(wanted, pagination)
        query, values = _page_query(wanted, cursor, descending=pagination.descending)
        rows = await self._database.all(query, **values, limit=pagination.limit + 1)
        return Page(await self._usage_rows(rows[: pagination.limit]), len(rows) > pagination.limit)

    async def remaining(self, tenant: str, key: str, *, budget: Budget, prices: Prices) -> int:
        """Return what is left of a budget; see BudgetStore."""
        rows = await self._database.all(SPENT, **spending_values(tenant, key, budget, int(self._now())))
        return budget.nano_usd - prices.cost(map(BilledMinutes._make, rows))

    async def reserve(self, charge: Charge, *, seconds: int) -> None:
        """Reserve a charge; see BudgetStore."""
        now = int(self._now())
        await self._database.write(lambda transaction: reserve(transaction, charge, now=now, expires_at=now + seconds))

    async def release(self, charge: Charge) -> None:
        """End a reservation; see BudgetStore."""
        await self._database.write(lambda transaction: release(transaction, charge), frees_space=True)

    async def _count_stored(self, tenant: str | None) -> None:
        """Count the byte-seconds of all accounts up to now, in steps."""
        query = _ACCOUNTS if tenant is None else _ACCOUNTS_OF_TENANT
        after = Owner(tenant or "", "", "")
        while True:
            owners = [Owner(*row) for row in await self._database.all(query, **after._asdict(), limit=_STEP)]
            if owners:
                await self._database.write(partial(_touch_all, owners=owners, now=int(self._now())))
            if len(owners) < _STEP:
                return
            after = owners[-1]

    async def _cursor(self, wanted: UsageFilter, pagination: Pagination) -> Row | None:
        if pagination.after is None:
            return None
        row = await self._database.one(_CURSOR, pagination.after)
        if row is None or wanted.tenant not in (None, row[0]):
            raise bad_cursor("row of usage", pagination.after)
        return row

    async def _usage_rows(self, rows: Sequence[Row]) -> list[UsageRow]:
        minutes: dict[int, list[MinutesRow]] = {seq: [] for *_, seq in rows}
        for seq, *part in await self._database.all(_MINUTES, seqs=orjson.dumps(list(minutes)).decode()):
            minutes[seq].append(MinutesRow(*part))
        return [
            UsageRow(id_, tenant, key, provider, day, containers, minutes[seq], *rest)
            for id_, tenant, key, provider, day, containers, *rest, seq in rows
        ]


def _page_query(wanted: UsageFilter, cursor: Row | None, *, descending: bool) -> tuple[str, dict[str, Any]]:
    """Return the query for a page and its values, to which `limit` is to be added."""
    order = _ORDER if wanted.tenant is None else _ORDER[1:]  # without the tenant, the index leads to the cursor
    after = None if cursor is None else cursor[-len(order) :]
    marks = ", ".join(f":c{index}" for index in range(len(order)))
    conditions = {
        "tenant = :tenant": wanted.tenant,
        "key_name = :key": wanted.key,
        "provider IN (SELECT value FROM json_each(:providers))": _json(wanted.providers),
        "day >= :since": wanted.since_day,
        "day <= :until": wanted.until_day,
        f"({', '.join(order)}) {'<' if descending else '>'} ({marks})": after,
    }
    names = ("tenant", "key", "providers", "since", "until")
    values: dict[str, Any] = dict(zip(names, conditions.values(), strict=False))
    values |= {f"c{index}": value for index, value in enumerate(after or ())}
    where = " AND ".join(condition for condition, value in conditions.items() if value is not None) or "TRUE"
    direction = "DESC" if descending else "ASC"
    sorting = ", ".join(f"{column} {direction}" for column in order)
    return f"SELECT {_COLUMNS} FROM usage WHERE {where} ORDER BY {sorting} LIMIT :limit", values  # noqa: S608 - constants


def _json(names: frozenset[str] | None) -> str | None:
    return None if names is None else orjson.dumps(sorted(names)).decode()


async def _count_all_calls(transaction: Transaction, counts: Mapping[CallsOf, CallCounts]) -> None:
    for of, counted in sorted(counts.items()):
        if not of.is_stranger or await is_known(transaction, of.tenant):
            owner = Owner(of.tenant, of.key, of.provider)
            await count_calls(transaction, owner, day=of.day, **counted._asdict())


async def _touch_all(transaction: Transaction, *, owners: Sequence[Owner], now: int) -> None:
    for owner in owners:
        await store_bytes(transaction, owner, 0, now=now)
