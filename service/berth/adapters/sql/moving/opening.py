"""Opens the sides of a copy by the URLs of databases."""

from typing import TYPE_CHECKING

from berth.adapters.sql.moving.sides import NewStore, RowSource
from berth.adapters.sql.moving.sqlite_sides import SqliteRows, SqliteTarget
from berth.adapters.sql.opening import POSTGRES, DatabaseSettings
from berth.adapters.sql.sqlite.connections import path_of
from berth.core.errors import StorageError

if TYPE_CHECKING:
    from berth.adapters.sql.postgres.connections import Settings


async def open_rows(settings: DatabaseSettings, *, may_be_used: bool = False) -> RowSource:
    """Open a database to read its rows. StorageError if it cannot be used as it is.

    Unless it `may_be_used` meanwhile, that a Berth is connected to a server is an error as well.
    """
    if not is_server(settings):
        return SqliteRows.existing(path_of(settings.url))
    from berth.adapters.sql.moving.postgres_sides import PostgresRows  # noqa: PLC0415 - the driver takes memory

    server = _server(settings) if may_be_used else _direct(settings)
    return await PostgresRows.existing(server, may_be_used=may_be_used)


async def begin_store(settings: DatabaseSettings, source: str) -> NewStore:
    """Create and migrate a database that is marked as unfinished, or continue with one that has a copy of `source`.

    StorageError if it has other rows or cannot be used.
    """
    if not is_server(settings):
        return SqliteTarget.begun(path_of(settings.url), source)
    from berth.adapters.sql.moving.postgres_sides import PostgresTarget  # noqa: PLC0415 - see above

    return await PostgresTarget.begun(_direct(settings), source)


def is_server(settings: DatabaseSettings) -> bool:
    """Return whether the database is on a server, and not in a file."""
    return settings.url.startswith(POSTGRES)


def _direct(settings: DatabaseSettings) -> "Settings":
    """Return how to connect for what needs a session of its own. StorageError if a pooler lends sessions to others."""
    if not settings.prepares:
        raise StorageError("store.prepared_statements: a copy needs the server itself, and not a pooler before it")
    return _server(settings)


def _server(settings: DatabaseSettings) -> "Settings":
    from berth.adapters.sql.postgres.connections import Settings  # noqa: PLC0415 - see above

    return Settings(settings.url, settings.connections, settings.prepares)
