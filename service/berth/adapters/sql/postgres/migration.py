"""Creates and migrates the tables on a PostgreSQL server.

An empty database is created from `postgres.sql`. For an older one alembic writes the missing migrations as SQL, without
a driver of its own. Either runs in one transaction. Replicas that start at the same time wait for each other. Those of
the previous version go on meanwhile, so a migration has to expand the schema only (see `schema`).
"""

import asyncio
import io
import socket
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from berth.adapters.sql.postgres.connections import Settings, connect, place_of
from berth.adapters.sql.postgres.errors import FAILURES, open_error, reason
from berth.adapters.sql.schema import HEAD, REVISION, creation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from berth.adapters.sql.postgres.connections import Connection

WAIT_SECONDS = 30.0
"""How long a start waits for a server that cannot be reached yet."""
_RETRY_SECONDS = 0.5
_LOCK = "SELECT pg_advisory_xact_lock(5023194821703215)"  # any number that only Berth uses
_TRY_LOCK = _LOCK.replace("pg_advisory", "pg_try_advisory")
_WITHOUT_LIMITS = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0"
_WAITS = "Another process is migrating it."
_BRIEFLY = "SET LOCAL lock_timeout = 1000"
"""How long a migration waits for a table: all calls wait behind it meanwhile."""
_PAUSE_SECONDS = 5.0
_TABLE_IN_USE = "A table to migrate is in use, such as by a backup."
# Not by to_regclass, which may not see yet what another transaction has created while this one waited for the lock.
_IS_NEW = """
    SELECT NOT EXISTS (
        SELECT 1 FROM pg_tables WHERE tablename = 'alembic_version' AND schemaname = ANY (current_schemas(false))
    )
"""
UNFINISHED = "unfinished_copy"
"""The name of the table that marks a database into which rows are being copied."""
IS_UNFINISHED = f"SELECT to_regclass('{UNFINISHED}') IS NOT NULL"
_UNFINISHED_COPY = "copying a store or restoring a backup into it was not finished. Run the command again."
_ENCODING = "SELECT current_setting('server_encoding')"
_NOT_READY = (
    ConnectionRefusedError,
    ConnectionResetError,
    TimeoutError,
    socket.gaierror,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


async def prepare(
    settings: Settings,
    *,
    migrates: bool,
    may_be_unfinished: bool = False,
    report: Callable[[str], None] = lambda _: None,
) -> None:
    """Make sure that the database has the current schema: migrate it, if `migrates`. StorageError if it has not.

    StorageError as well if rows are being copied into it, unless it `may_be_unfinished`. `report` is told why it has to
    wait for the server or for another process, if it has to.
    """
    place = place_of(settings.url)
    async with _connected(settings, place, report) as connection:
        if await connection.fetchval(_ENCODING) != "UTF8":
            raise open_error(place, "its encoding is not UTF8.")
        if not may_be_unfinished and await connection.fetchval(IS_UNFINISHED):
            raise open_error(place, _UNFINISHED_COPY)
        if await _revision(connection) == HEAD:
            return
        if not migrates:
            raise open_error(place, "it belongs to another version of the service, or was not migrated yet.")
        async with connection.transaction():
            await _wait_for_others(connection, report)
            revision = await _revision(connection)  # another process may have migrated it in the meantime
            if revision is None:
                await connection.execute(creation("postgres"))
            elif revision != HEAD:
                await _migrate(connection, await asyncio.to_thread(upgrade_script, revision, place), report)


async def _wait_for_others(connection: "Connection", report: Callable[[str], None]) -> None:
    """Take the lock of migrations, however long that of another process takes; then this one may take as long."""
    await connection.execute(_WITHOUT_LIMITS)
    if not await connection.fetchval(_TRY_LOCK):
        report(_WAITS)
        await connection.execute(_LOCK)


async def _migrate(connection: "Connection", script: str, report: Callable[[str], None]) -> None:
    """Run a migration as soon as no other transaction uses its tables; calls go on between two tries."""
    has_reported = False
    while True:
        try:
            async with connection.transaction():
                await connection.execute(_BRIEFLY)
                await connection.execute(script)
                return
        except asyncpg.LockNotAvailableError:
            if not has_reported:
                report(_TABLE_IN_USE)
                has_reported = True
        await asyncio.sleep(_PAUSE_SECONDS)


async def _revision(connection: "Connection") -> str | None:
    """Return the revision of the schema, None if there are no tables yet."""
    if await connection.fetchval(_IS_NEW):
        return None
    revision: str | None = await connection.fetchval(REVISION)
    return revision


@asynccontextmanager
async def _connected(settings: Settings, place: str, report: Callable[[str], None]) -> "AsyncIterator[Connection]":
    """Connect, and wait for a server that is only starting. Raises StorageError for all its errors."""
    try:
        connection = await _connect(settings, report)
        try:
            yield connection
        finally:
            await connection.close()
    except asyncpg.ClientConfigurationError as error:
        raise open_error(place, "a parameter of its URL is not valid.") from error
    except FileNotFoundError as error:
        raise open_error(place, "a file that its URL names does not exist.") from error
    except FAILURES as error:
        raise open_error(place, reason(error)) from error


async def _connect(settings: Settings, report: Callable[[str], None]) -> "Connection":
    deadline, has_reported = time.monotonic() + WAIT_SECONDS, False
    while True:
        try:
            return await connect(settings, answer_seconds=None)
        except _NOT_READY as error:
            if time.monotonic() > deadline:
                raise
            if not has_reported:
                report(reason(error))
                has_reported = True
        await asyncio.sleep(_RETRY_SECONDS)


def upgrade_script(revision: str | None, place: str) -> str:
    """Return the SQL of the migrations from a revision, None if there are no tables yet, to the newest.

    StorageError that names `place` if the revision is not known.
    """
    from alembic import command  # noqa: PLC0415 - costly, see the package `schema`
    from alembic.config import Config  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    script = io.StringIO()
    config = Config(output_buffer=script)
    config.set_main_option("script_location", "berth.adapters.sql:schema")
    config.attributes["script"] = script
    try:
        command.upgrade(config, f"{revision or 'base'}:head", sql=True)
    except CommandError as error:
        raise open_error(place, "it was made by a newer version of the service.") from error
    return script.getvalue()
