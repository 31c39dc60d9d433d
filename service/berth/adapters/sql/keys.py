"""SqlKeys: the KeyStore in a database."""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from berth.adapters.sql.database import Database, Transaction
from berth.core.auth.virtual_keys import LATEST_TIME, KeyEntry, VirtualKey
from berth.core.caller import NO_LIMITS, Budget, Caller, Limits
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.providers import PROVIDERS, provider_name


class _KeyRow(NamedTuple):
    """A row of `virtual_keys`."""

    name: str
    tenant: str
    providers: str | None
    requests_per_minute: int | None
    max_in_flight: int | None
    expires_at: int | None
    created_at: int
    revoked_at: int | None
    budget_nano_usd: int | None
    budget_period: str | None


_COLUMNS = ", ".join(f"virtual_keys.{column}" for column in _KeyRow._fields)
_FIND = f"""
    SELECT {_COLUMNS} FROM key_digests JOIN virtual_keys ON virtual_keys.name = key_digests.name
    WHERE digest = ? AND (valid_until IS NULL OR valid_until > ?) AND revoked_at IS NULL
"""  # noqa: S608 - constants
_ENTRIES = f"SELECT {_COLUMNS} FROM virtual_keys ORDER BY virtual_keys.name"  # noqa: S608 - constants
_IN_USE = "SELECT 1 FROM virtual_keys WHERE name = ? AND revoked_at IS NULL"
_DELETE_KEY = "DELETE FROM virtual_keys WHERE name = ?"
_INSERT = """
    INSERT INTO virtual_keys (
        name, tenant, providers, requests_per_minute, max_in_flight, expires_at, created_at,
        budget_nano_usd, budget_period
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_DIGEST = "INSERT INTO key_digests (digest, name) VALUES (?, ?)"
_REVOKE = "UPDATE virtual_keys SET revoked_at = ? WHERE name = ?"
_DELETE_DIGESTS = "DELETE FROM key_digests WHERE name = ?"
_DELETE_OLD_DIGESTS = "DELETE FROM key_digests WHERE name = ? AND valid_until <= ?"
_LIMIT_DIGESTS = """
    UPDATE key_digests SET valid_until = :until WHERE name = :name AND (valid_until IS NULL OR valid_until > :until)
"""


class SqlKeys:
    """A KeyStore in `database`, which other processes may change."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, digest: bytes, *, now: int) -> VirtualKey | None:
        """Return the key of a digest; see KeyStore."""
        row = await self._database.one(_FIND, digest, now)
        return _key(_KeyRow._make(row)) if row else None

    async def add(self, key: VirtualKey, digest: bytes, *, now: int) -> None:
        """Add a key; see KeyStore."""
        await self._database.write(lambda transaction: _add(transaction, key, digest=digest, now=now))

    async def entries(self) -> Sequence[KeyEntry]:
        """Return all keys; see KeyStore."""
        rows = map(_KeyRow._make, await self._database.all(_ENTRIES))
        return [KeyEntry(_key(row), created_at=row.created_at, revoked_at=row.revoked_at) for row in rows]

    async def revoke(self, name: str, *, now: int) -> None:
        """Revoke a key; see KeyStore."""
        await self._database.write(lambda transaction: _revoke(transaction, name, now=now))

    async def rotate(self, name: str, digest: bytes, *, now: int, old_until: int) -> None:
        """Give a key a new digest; see KeyStore."""
        await self._database.write(
            lambda transaction: _rotate(transaction, name, digest=digest, now=now, old_until=old_until)
        )


def _key(row: _KeyRow) -> VirtualKey:
    """Return the key of a row. Another version of the service may have written times or providers of no use here."""
    names = None if row.providers is None else orjson.loads(row.providers)
    allowed = None if names is None else frozenset(PROVIDERS[name] for name in names if name in PROVIDERS)
    expires_at = None if row.expires_at is None else min(max(row.expires_at, 0), LATEST_TIME)
    is_limited = row.requests_per_minute is not None or row.max_in_flight is not None
    limits = Limits(row.requests_per_minute, row.max_in_flight) if is_limited else NO_LIMITS
    caller = Caller(row.tenant, row.name, allowed, limits=limits, budget=_budget(row))
    return VirtualKey(caller, expires_at=expires_at)


def _budget(row: _KeyRow) -> Budget | None:
    if row.budget_nano_usd is None:
        return None
    return Budget(row.budget_nano_usd, "day" if row.budget_period == "day" else "month")


async def _add(transaction: Transaction, key: VirtualKey, *, digest: bytes, now: int) -> None:
    caller = key.caller
    await transaction.serialize("key", caller.name)
    if await transaction.value(_IN_USE, caller.name):
        raise InvalidRequestError(f"There is a key '{caller.name}' already.", param="name")
    providers = (
        None if caller.providers is None else orjson.dumps(sorted(map(provider_name, caller.providers))).decode()
    )
    limits = caller.limits
    await transaction.run(_DELETE_KEY, caller.name)
    await transaction.run(
        _INSERT,
        caller.name,
        caller.tenant,
        providers,
        limits.requests_per_minute,
        limits.max_in_flight,
        key.expires_at,
        now,
        caller.budget.nano_usd if caller.budget else None,
        caller.budget.period if caller.budget else None,
    )
    await transaction.run(_INSERT_DIGEST, digest, caller.name)


async def _revoke(transaction: Transaction, name: str, *, now: int) -> None:
    await _require_in_use(transaction, name)
    await transaction.run(_DELETE_DIGESTS, name)
    await transaction.run(_REVOKE, now, name)


async def _rotate(transaction: Transaction, name: str, *, digest: bytes, now: int, old_until: int) -> None:
    await _require_in_use(transaction, name)
    await transaction.run(_LIMIT_DIGESTS, until=old_until, name=name)
    await transaction.run(_DELETE_OLD_DIGESTS, name, now)
    await transaction.run(_INSERT_DIGEST, digest, name)


async def _require_in_use(transaction: Transaction, name: str) -> None:
    if not await transaction.lock(_IN_USE, name):
        raise NotFoundError(f"There is no key '{name}'.")
