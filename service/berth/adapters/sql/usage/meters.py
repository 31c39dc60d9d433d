"""Counts the minutes of containers and the bytes of their files, inside a transaction of the caller.

The meter of a container runs from its creation until it is deleted or expires. It consists of columns of the
container's own row, and is changed with it: while it runs, nothing else is written. What it says is added to the usage
when the container is deleted, when a sweep finds that it has expired, and when its tenant asks for the usage. A meter
that was closed too early, because a passthrough container was used without Berth, is opened again by the provider's
next answer.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from berth.adapters.sql.database import Database, Transaction
from berth.adapters.sql.expressions import either, larger, smaller
from berth.adapters.sql.usage.counting import Owner, count_byte_seconds, count_minutes
from berth.core.usage.minutes import (
    MINIMUM_MINUTES,
    UNKNOWN_EXPIRY_MINUTES,
    day_of,
    minutes_begun,
    minutes_by_day,
    seconds_by_day,
    start_of_meter,
)
from berth.core.usage.prices import DEFAULT_MEMORY

_IDLE_MINUTES = either("expires_minutes > 0", "expires_minutes", str(UNKNOWN_EXPIRY_MINUTES))
END = smaller(
    f"{larger('last_active_at', 'metered_from')} + {_IDLE_MINUTES} * 60", "coalesce(deleted_at, 9223372036854775807)"
)
"""The expression for the last second in which the meter of a container runs."""
_OPEN = f"""
    SELECT seq, tenant, created_by, provider, coalesce(memory_limit, '{DEFAULT_MEMORY}'), metered_from, counted_minutes,
        metered_bytes, byte_seconds, bytes_since, {END}
    FROM containers WHERE meter_open = 1
"""  # noqa: S608 - constants
_METER = f"{_OPEN} AND seq = ?"
_SLICE = f"{_OPEN} AND (tenant, created_by, seq) > (?, ?, ?) ORDER BY tenant, created_by, seq LIMIT ?"
_SLICE_OF_TENANT = f"{_OPEN} AND tenant = ? AND (created_by, seq) > (?, ?) ORDER BY created_by, seq LIMIT ?"
_ANY = "SELECT 1 FROM containers WHERE meter_open = 1 AND tenant = ? LIMIT 1"
_UPDATE = """
    UPDATE containers SET counted_minutes = ?, byte_seconds = 0, bytes_since = ?, meter_open = ? WHERE seq = ?
"""
METER_COLUMNS = "created_by, metered_from, bytes_since, meter_open"
_METERED_BYTES = larger("0", "metered_bytes + :size")
_BYTE_SECONDS = f"metered_bytes * {larger('0', ':now - bytes_since')}"
ADD_METERED_BYTES = f"""
    metered_bytes = {either("meter_open = 1", _METERED_BYTES, "metered_bytes")},
    byte_seconds = byte_seconds + {either("meter_open = 1", _BYTE_SECONDS, "0")},
    bytes_since = {either("bytes_since < :now", ":now", "bytes_since")}
"""
"""The part of an UPDATE of containers that stores `size` more bytes from `now` on, on the day of `bytes_since`.

Bytes that an older version stored during a replacement were not counted, and may be taken off all the same.
"""


STEP = 100
"""How many meters are read in one transaction: other writes wait for it."""


class Meter(NamedTuple):
    """The meter of a container; it ends, or has ended, at `end`."""

    seq: int
    tenant: str
    created_by: str
    provider: str
    memory_limit: str
    start: int
    counted_minutes: int
    bytes: int
    byte_seconds: int
    bytes_since: int
    end: int

    @property
    def owner(self) -> Owner:
        """What the meter counts for."""
        return Owner(self.tenant, self.created_by, self.provider)


class Position(NamedTuple):
    """Where a pass over the open meters goes on."""

    tenant: str = ""
    created_by: str = ""
    seq: int = 0


def new_meter(created_by: str | None, *, created_at: int, now: int) -> tuple[Any, ...]:
    """Return the values of METER_COLUMNS of a new container. Nothing is counted before its meter is read."""
    if created_by is None:
        return (None, None, None, None)
    start = start_of_meter(created_at, now)
    return (created_by, start, start, 1)


async def read_meter(transaction: Transaction, seq: int, *, now: int, is_over: bool = False) -> None:
    """Count what a container has used until now, if it has a meter.

    With `is_over`, it has just ended: it was deleted, or expired at its provider.
    """
    row = await transaction.one(_METER, seq)
    if row is not None:
        await _read(transaction, Meter._make(row), now=now, is_over=is_over)


async def read_all_meters(
    database: Database, *, now: Callable[[], float], tenant: str | None = None, only_ended: bool = False
) -> None:
    """Count what all open meters say until now, or those of a tenant, in steps. Those that have ended are closed.

    With `only_ended`, no others are counted.
    """
    if tenant is not None and await database.value(_ANY, tenant) is None:
        return  # strangers who ask for their usage cause no write
    after: Position | None = Position()
    while after is not None:
        read = partial(_read_some, after=after, tenant=tenant, now=int(now()), only_ended=only_ended)
        after = await database.write(read)


async def _read_some(
    transaction: Transaction, *, after: Position, tenant: str | None, now: int, only_ended: bool
) -> Position | None:
    """Read the next open meters; return the position of the last one, None if there are no more."""
    if tenant is None:
        rows = await transaction.lock(_SLICE, *after, STEP)
    else:
        rows = await transaction.lock(_SLICE_OF_TENANT, tenant, after.created_by, after.seq, STEP)
    meters = [Meter._make(row) for row in rows]
    for meter in meters:
        is_over = meter.end < now
        if is_over or not only_ended:
            await _read(transaction, meter, now=now, is_over=is_over)
    return _position(meters) if len(meters) == STEP else None


def _position(meters: Sequence[Meter]) -> Position:
    last = meters[-1]
    return Position(last.tenant, last.created_by, last.seq)


async def _read(transaction: Transaction, meter: Meter, *, now: int, is_over: bool) -> None:
    """Count what a meter says up to now, or up to its end if that was before; close it if it is over."""
    end = min(meter.end, now)
    minutes = max(meter.counted_minutes, minutes_begun(meter.start, end))
    if minutes == meter.counted_minutes and not (meter.bytes or meter.byte_seconds or is_over):
        return
    await _count_minutes(transaction, meter, minutes)
    for day, byte_seconds in _byte_seconds(meter, end):
        await count_byte_seconds(transaction, meter.owner, day=day, byte_seconds=byte_seconds)
    await transaction.run(_UPDATE, minutes, max(meter.bytes_since, end), None if is_over else 1, meter.seq)


async def _count_minutes(transaction: Transaction, meter: Meter, minutes: int) -> None:
    """Count the minutes of a meter that are not counted yet, and the container itself with its first minute."""
    counted, new_on = meter.counted_minutes, None if meter.counted_minutes else day_of(meter.start)
    billed = dict(minutes_by_day(meter.start, max(counted, MINIMUM_MINUTES), minutes))
    for day, number in minutes_by_day(meter.start, counted, minutes):
        minimum = MINIMUM_MINUTES if day == new_on else 0
        await count_minutes(
            transaction,
            meter.owner,
            day=day,
            memory_limit=meter.memory_limit,
            minutes=number,
            billed_minutes=billed.get(day, 0) + minimum,
            containers=int(day == new_on),
        )


def _byte_seconds(meter: Meter, end: int) -> Iterator[tuple[int, int]]:
    """Yield the byte-seconds of a meter that are not counted yet, and their days."""
    if meter.byte_seconds:
        yield day_of(meter.bytes_since), meter.byte_seconds
    if meter.bytes:
        for day, seconds in seconds_by_day(meter.bytes_since, end):
            yield day, meter.bytes * seconds
