"""Opens the database of a URL."""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from berth.adapters.sql.database import Database
from berth.adapters.sql.sqlite.database import SqliteDatabase

POSTGRES = "postgresql://"


class DatabaseSettings(NamedTuple):
    """A database, and for a server the number of connections, and whether statements are prepared."""

    url: str
    connections: int = 5
    prepares: bool = True


async def open_database(
    settings: DatabaseSettings, *, is_shared: bool = False, report: Callable[[str], None] = lambda _: None
) -> Database:
    """Open a database; create and migrate it where needed. StorageError if it cannot be used.

    With `is_shared`, a process with an older version uses it. `report` is told why it has to wait for a server, if it
    has to.
    """
    if settings.url.startswith(POSTGRES):
        return await _open_server(settings, migrates=True, report=report)
    # In a thread, because a migration takes a while, and a signal has to stop the start meanwhile.
    return await asyncio.to_thread(SqliteDatabase.open, settings.url, is_shared=is_shared)


async def open_existing(settings: DatabaseSettings) -> Database:
    """Open a database without creating or migrating it. StorageError if it cannot be used as it is."""
    if settings.url.startswith(POSTGRES):
        return await _open_server(settings, migrates=False, report=lambda _: None)
    return SqliteDatabase.open_existing(settings.url)


async def _open_server(settings: DatabaseSettings, *, migrates: bool, report: Callable[[str], None]) -> Database:
    from berth.adapters.sql.postgres.connections import Settings  # noqa: PLC0415 - the driver takes memory
    from berth.adapters.sql.postgres.database import PostgresDatabase  # noqa: PLC0415

    server = Settings(settings.url, settings.connections, settings.prepares)
    return await PostgresDatabase.open(server, migrates=migrates, report=report)
