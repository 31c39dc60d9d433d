"""SqlKeys: the KeyStore on SQLite."""

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import orjson

from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.rows import fetch_value
from berth.core.auth.virtual_keys import KeyEntry, VirtualKey
from berth.core.caller import NO_LIMITS, Caller, Limits
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


_COLUMNS = ", ".join(f"virtual_keys.{column}" for column in _KeyRow._fields)
_FIND = f"""
    SELECT {_COLUMNS} FROM key_digests JOIN virtual_keys ON virtual_keys.name = key_digests.name
    WHERE digest = ? AND (valid_until IS NULL OR valid_until > ?) AND revoked_at IS NULL
"""  # noqa: S608 - constants
_ENTRIES = f"SELECT {_COLUMNS} FROM virtual_keys ORDER BY virtual_keys.name"  # noqa: S608 - constants
_IN_USE = "SELECT 1 FROM virtual_keys WHERE name = ? AND revoked_at IS NULL"
_DELETE_KEY = "DELETE FROM virtual_keys WHERE name = ?"
_INSERT = """
    INSERT INTO virtual_keys (name, tenant, providers, requests_per_minute, max_in_flight, expires_at, created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_DIGEST = "INSERT INTO key_digests (digest, name) VALUES (?, ?)"
_REVOKE = "UPDATE virtual_keys SET revoked_at = ? WHERE name = ?"
_DELETE_DIGESTS = "DELETE FROM key_digests WHERE name = ?"
_DELETE_OLD_DIGESTS = "DELETE FROM key_digests WHERE name = ? AND valid_until <= ?"
_LIMIT_DIGESTS = "UPDATE key_digests SET valid_until = min(coalesce(valid_until, ?), ?) WHERE name = ?"


class SqlKeys:
    """A KeyStore in `database`, which other processes may change."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database

    async def find(self, digest: bytes, *, now: int) -> VirtualKey | None:
        """Return the key of a digest; see KeyStore."""
        row = self._database.one(_FIND, digest, now)
        return _key(_KeyRow._make(row)) if row else None

    async def add(self, key: VirtualKey, digest: bytes, *, now: int) -> None:
        """Add a key; see KeyStore."""
        await self._database.write(lambda connection: _add(connection, key, digest=digest, now=now))

    async def entries(self) -> Sequence[KeyEntry]:
        """Return all keys; see KeyStore."""
        rows = map(_KeyRow._make, self._database.all(_ENTRIES, {}))
        return [KeyEntry(_key(row), created_at=row.created_at, revoked_at=row.revoked_at) for row in rows]

    async def revoke(self, name: str, *, now: int) -> None:
        """Revoke a key; see KeyStore."""
        await self._database.write(lambda connection: _revoke(connection, name, now=now))

    async def rotate(self, name: str, digest: bytes, *, now: int, old_until: int) -> None:
        """Give a key a new digest; see KeyStore."""
        await self._database.write(
            lambda connection: _rotate(connection, name, digest=digest, now=now, old_until=old_until)
        )


def _key(row: _KeyRow) -> VirtualKey:
    allowed = None if row.providers is None else frozenset(PROVIDERS[name] for name in orjson.loads(row.providers))
    is_limited = row.requests_per_minute is not None or row.max_in_flight is not None
    limits = Limits(row.requests_per_minute, row.max_in_flight) if is_limited else NO_LIMITS
    return VirtualKey(Caller(row.tenant, row.name, allowed, limits=limits), expires_at=row.expires_at)


def _add(connection: sqlite3.Connection, key: VirtualKey, *, digest: bytes, now: int) -> None:
    caller = key.caller
    if fetch_value(connection, _IN_USE, caller.name):
        raise InvalidRequestError(f"There is a key '{caller.name}' already.", param="name")
    providers = (
        None if caller.providers is None else orjson.dumps(sorted(map(provider_name, caller.providers))).decode()
    )
    limits = caller.limits
    connection.execute(_DELETE_KEY, (caller.name,))
    connection.execute(
        _INSERT,
        (
            caller.name,
            caller.tenant,
            providers,
            limits.requests_per_minute,
            limits.max_in_flight,
            key.expires_at,
            now,
        ),
    )
    connection.execute(_INSERT_DIGEST, (digest, caller.name))


def _revoke(connection: sqlite3.Connection, name: str, *, now: int) -> None:
    _require_in_use(connection, name)
    connection.execute(_DELETE_DIGESTS, (name,))
    connection.execute(_REVOKE, (now, name))


def _rotate(connection: sqlite3.Connection, name: str, *, digest: bytes, now: int, old_until: int) -> None:
    _require_in_use(connection, name)
    connection.execute(_LIMIT_DIGESTS, (old_until, old_until, name))
    connection.execute(_DELETE_OLD_DIGESTS, (name, now))
    connection.execute(_INSERT_DIGEST, (digest, name))


def _require_in_use(connection: sqlite3.Connection, name: str) -> None:
    if fetch_value(connection, _IN_USE, name) is None:
        raise NotFoundError(f"There is no key '{name}'.")
