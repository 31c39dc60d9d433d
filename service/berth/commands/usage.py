"""`berth usage`: what tenants have used and what that is estimated to cost, whether Berth is running or not."""

import asyncio
import csv
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from berth.adapters.sql.usage.store import SqlUsage
from berth.app.stores.database import opened_database
from berth.app.usage import prices_of
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.terminal.printing import print_json, print_message, print_table
from berth.config import Config
from berth.core.errors import BerthError
from berth.core.ports.pages import Pagination
from berth.core.ports.usage_store import UsageFilter, UsageRow
from berth.core.providers import PROVIDERS
from berth.core.usage.prices import NANO, PUBLIC, Prices
from berth.core.usage.reports import SECONDS_PER_HOUR, day_text, read_day
from berth.core.validation import did_you_mean
from berth.launch.refusal import StartError

_PAGE = 1_000
_LESS_IMPORTANT = ("BYTES OUT", "BYTES IN", "BYTE-HOURS")
_HEADINGS = ("CONTAINERS", "MINUTES", "BYTE-HOURS", "BYTES IN", "BYTES OUT", "CALLS", "RUN S", "COST USD")

_AS_OF = "prices_as_of"
"""The name, as in the API, for the date of the prices with which the cost is estimated."""
_FORMULAS = ("=", "+", "-", "@")
"""What formulas in spreadsheets begin with."""

Totals = dict[tuple[str, ...], Counter[str]]


class Group(StrEnum):
    """What usage is added up by, in the order of the columns."""

    TENANT = "tenant"
    KEY = "key"
    PROVIDER = "provider"
    DAY = "day"


def usage(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only usage of this tenant.")] = None,
    key: Annotated[str | None, typer.Option(help="Only usage of the key or user with this name.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only usage of this provider.")] = None,
    since: Annotated[str | None, typer.Option(metavar="DAY", help="Only this day, in UTC, and later ones.")] = None,
    until: Annotated[str | None, typer.Option(metavar="DAY", help="Only this day, in UTC, and earlier ones.")] = None,
    by: Annotated[list[Group] | None, typer.Option(help="Add up by this; repeatable; by default by all four.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each row.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV, with a heading.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show what tenants have used, and what that is estimated to cost."""
    loaded = load_config(config, data_dir)
    if provider is not None and provider not in PROVIDERS:
        raise StartError(f"--provider: unknown provider '{provider}'{did_you_mean(provider, PROVIDERS, always=True)}")
    wanted = UsageFilter(
        tenant=tenant,
        key=key,
        providers=None if provider is None else frozenset({provider}),
        since_day=_day(since, "--since"),
        until_day=_day(until, "--until"),
    )
    groups = [group.value for group in Group if group in (by or Group)]
    prices = prices_of(loaded)
    totals = _add_up(_read(loaded, wanted), groups, prices)
    rows = [
        dict(zip(groups, names, strict=True)) | _shown(counts) | {_AS_OF: prices.as_of}
        for names, counts in sorted(totals.items())
    ]
    if as_json:
        for row in rows:
            print_json(row)
    elif as_csv:
        _print_csv(rows, groups)
    else:
        _print_table(rows, groups, prices)


def _day(text: str | None, option: str) -> int | None:
    try:
        return None if text is None else read_day(text, option)
    except BerthError:
        raise StartError(f"{option}: must be a day such as 2026-11-28, not '{text}'") from None


def _read(config: Config, wanted: UsageFilter) -> list[UsageRow]:
    """Return all rows, after what exists was counted until now. StartError if the store cannot be used."""

    async def read() -> list[UsageRow]:
        async with opened_database(config) as database:
            return await _read_all(SqlUsage(database), wanted)

    return asyncio.run(read())


async def _read_all(store: SqlUsage, wanted: UsageFilter) -> list[UsageRow]:
    await store.settle(tenant=wanted.tenant)
    rows: list[UsageRow] = []
    has_more, after = True, None
    while has_more:
        page, has_more = await store.list_usage(wanted, Pagination(_PAGE, after, descending=False))
        rows += page
        after = page[-1].id if page else None
    return rows


def _add_up(rows: Iterable[UsageRow], groups: Sequence[str], prices: Prices) -> Totals:
    """Return the sums of the rows that agree in `groups`."""
    totals: Totals = {}
    for row in rows:
        facts = {"tenant": row.tenant, "key": row.key, "provider": row.provider, "day": day_text(row.day)}
        counts = totals.setdefault(tuple(facts[group] for group in groups), Counter())
        counts.update(
            containers=row.containers,
            byte_seconds=row.byte_seconds,
            bytes_in=row.bytes_in,
            bytes_out=row.bytes_out,
            calls=row.calls,
            execs=row.execs,
            exec_ms=row.exec_milliseconds,
            cost=prices.cost(row.billed),
            billed_minutes=sum(part.billed_minutes for part in row.minutes),
            minutes=sum(part.minutes for part in row.minutes),
        )
        counts.update({f"minutes {part.memory_limit}": part.minutes for part in row.minutes})
    return totals


def _shown(counts: Counter[str]) -> dict[str, Any]:
    """Return the sums of a group as they are printed."""
    sizes = [name.removeprefix("minutes ") for name in counts if name.startswith("minutes ")]
    return {
        "containers": counts["containers"],
        "container_minutes": counts["minutes"],
        "container_minutes_by_memory": {size: counts[f"minutes {size}"] for size in sorted(sizes)},
        "billed_minutes": counts["billed_minutes"],
        "stored_byte_hours": round(counts["byte_seconds"] / SECONDS_PER_HOUR, 3),
        "bytes_in": counts["bytes_in"],
        "bytes_out": counts["bytes_out"],
        "calls": counts["calls"],
        "execs": counts["execs"],
        "exec_seconds": counts["exec_ms"] / 1000,
        "estimated_cost_usd": round(counts["cost"] / NANO, 6),
    }


def _print_csv(rows: Iterable[dict[str, Any]], groups: Sequence[str]) -> None:
    """Print rows as CSV, with a column for the minutes of each memory size."""
    names = [*groups, *(name for name in _shown(Counter()) if name != "container_minutes_by_memory"), _AS_OF]
    sizes = {f"container_minutes_{size}": size for size in PUBLIC}
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow([*names, *sizes])
    for row in rows:
        minutes = row["container_minutes_by_memory"]
        values = (_harmless(row[name]) if name in {*groups, _AS_OF} else row[name] for name in names)
        writer.writerow([*values, *(minutes.get(size, 0) for size in sizes.values())])


def _harmless(name: str) -> str:
    """Return a name so that spreadsheets do not take it for a formula."""
    return f"'{name}" if name.startswith(_FORMULAS) else name


def _print_table(rows: Iterable[dict[str, Any]], groups: Sequence[str], prices: Prices) -> None:
    columns = ("containers", "container_minutes", "stored_byte_hours", "bytes_in", "bytes_out", "calls", "exec_seconds")
    headings = [*(group.upper() for group in groups), *_HEADINGS]
    lines = [
        [
            *(row[group] or None for group in groups),
            *(row[name] for name in columns),
            f"{row['estimated_cost_usd']:.4f}",
        ]
        for row in rows
    ]
    print_table([headings, *lines], less_important=_LESS_IMPORTANT)
    print_message(f"the cost is an estimate at the prices of {prices.as_of}")
