"""Adds to the rows of usage, inside a transaction of the caller.

Each function counts for one `Owner`. Times are seconds since 1970, days are days since 1970.
"""

import secrets
from typing import NamedTuple

from berth.adapters.sql.database import Transaction
from berth.core.usage.minutes import seconds_by_day

ID = ("usage_", 24)
"""What the id of a row of usage begins with, and how many random hexadecimal digits follow."""
_CONTAINERS = """
    INSERT INTO usage (id, tenant, day, provider, key_name, containers) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, day, provider, key_name) DO UPDATE SET containers = usage.containers + excluded.containers
    RETURNING seq
"""
_BYTE_SECONDS = """
    INSERT INTO usage (id, tenant, day, provider, key_name, byte_seconds) VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, day, provider, key_name)
    DO UPDATE SET byte_seconds = usage.byte_seconds + excluded.byte_seconds
"""
_CALLS = """
    INSERT INTO usage (id, tenant, day, provider, key_name, calls, bytes_in, bytes_out) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, day, provider, key_name) DO UPDATE SET calls = usage.calls + excluded.calls,
    bytes_in = usage.bytes_in + excluded.bytes_in, bytes_out = usage.bytes_out + excluded.bytes_out
"""
_EXECS = """
    INSERT INTO usage (id, tenant, day, provider, key_name, execs, exec_ms) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, day, provider, key_name) DO UPDATE SET execs = usage.execs + excluded.execs,
    exec_ms = usage.exec_ms + excluded.exec_ms
"""
_IS_KNOWN = """
    SELECT EXISTS (SELECT 1 FROM usage WHERE tenant = :tenant)
    OR EXISTS (SELECT 1 FROM containers WHERE tenant = :tenant AND meter_open = 1)
"""
_MINUTES = """
    INSERT INTO usage_minutes (usage_seq, memory_limit, containers, minutes, billed_minutes) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (usage_seq, memory_limit) DO UPDATE SET containers = usage_minutes.containers + excluded.containers,
    minutes = usage_minutes.minutes + excluded.minutes,
    billed_minutes = usage_minutes.billed_minutes + excluded.billed_minutes
"""
_ACCOUNT = "SELECT bytes, counted_until FROM stored_bytes WHERE tenant = ? AND key_name = ? AND provider = ?"
_SET_ACCOUNT = """
    INSERT INTO stored_bytes (tenant, key_name, provider, bytes, counted_until) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (tenant, key_name, provider)
    DO UPDATE SET bytes = excluded.bytes, counted_until = excluded.counted_until
"""
_OLD = """
    SELECT json_group_array(seq), count(*) FROM (SELECT seq FROM usage WHERE day < ? ORDER BY day LIMIT ?) AS oldest
"""
_REMOVALS = (
    "DELETE FROM usage_minutes WHERE usage_seq IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
    "DELETE FROM usage WHERE seq IN (SELECT CAST(value AS BIGINT) FROM json_each(?))",
)


class Owner(NamedTuple):
    """What usage is counted for: a tenant, the name of its key, and a provider; "" if a call is about none."""

    tenant: str
    key: str
    provider: str


async def count_minutes(
    transaction: Transaction,
    owner: Owner,
    *,
    day: int,
    memory_limit: str,
    minutes: int,
    billed_minutes: int,
    containers: int = 0,
) -> None:
    """Count containers that were created on a day, and minutes of containers that began on it."""
    seq = await transaction.insert(_CONTAINERS, *_key(owner, day), containers)
    await transaction.run(_MINUTES, seq, memory_limit, containers, minutes, billed_minutes)


async def count_calls(
    transaction: Transaction, owner: Owner, *, day: int, calls: int, bytes_in: int, bytes_out: int
) -> None:
    """Count the calls of a day, and the bytes of their requests and responses."""
    await transaction.run(_CALLS, *_key(owner, day), calls, bytes_in, bytes_out)


async def count_execs(
    transaction: Transaction, owner: Owner, *, day: int, execs: int = 0, milliseconds: int = 0
) -> None:
    """Count commands that were started on a day, and how long commands ran that ended on it."""
    await transaction.run(_EXECS, *_key(owner, day), execs, milliseconds)


async def is_known(transaction: Transaction, tenant: str) -> bool:
    """Return whether a tenant has used anything that is counted."""
    return bool(await transaction.value(_IS_KNOWN, tenant=tenant))


async def store_bytes(transaction: Transaction, owner: Owner, size: int, *, now: int, until: int | None = None) -> None:
    """Change by `size` how many bytes of files outside of containers are stored, and count byte-seconds up to `now`.

    If the change happened already at the time `until`, the bytes are not counted from then on.
    """
    rows = await transaction.lock(_ACCOUNT, *owner)
    stored, counted_until = rows[0] if rows else (0, now)
    if stored:
        await _count_stored(transaction, owner, stored, start=counted_until, end=now)
    if until is not None and until < now:
        await _count_stored(transaction, owner, size, start=until, end=now)
    await transaction.run(_SET_ACCOUNT, *owner, stored + size, max(now, counted_until))


async def remove_usage(transaction: Transaction, *, before_day: int, limit: int) -> int:
    """Remove at most `limit` rows of days before a day; return how many."""
    oldest = await transaction.one(_OLD, before_day, limit)
    if oldest is None or not oldest[1]:
        return 0
    seqs, count = oldest
    for query in _REMOVALS:
        await transaction.run(query, seqs)
    return int(count)


async def count_byte_seconds(transaction: Transaction, owner: Owner, *, day: int, byte_seconds: int) -> None:
    """Count bytes that were stored on a day, times the seconds."""
    await transaction.run(_BYTE_SECONDS, *_key(owner, day), byte_seconds)


async def _count_stored(transaction: Transaction, owner: Owner, size: int, *, start: int, end: int) -> None:
    for day, seconds in seconds_by_day(start, end):
        await count_byte_seconds(transaction, owner, day=day, byte_seconds=size * seconds)


def _key(owner: Owner, day: int) -> tuple[str, str, int, str, str]:
    """Return the values that identify a row: its id, if it is a new one, and its owner and day."""
    prefix, digits = ID
    return f"{prefix}{secrets.token_hex(digits // 2)}", owner.tenant, day, owner.provider, owner.key
