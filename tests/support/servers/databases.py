"""Empty databases of both kinds, for suites that run on each."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.sql.database import Database, Transaction
from berth.adapters.sql.observed.database import ObservedDatabase
from berth.adapters.sql.postgres.connections import Settings
from berth.adapters.sql.postgres.database import PostgresDatabase
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.observation.spans import NO_TRACER
from support.servers.empty_database import put_empty_database

KINDS = ("sqlite", "postgres")


@asynccontextmanager
async def opened(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Database]:
    """Open an empty database of one of KINDS; rows in PostgreSQL are removed in the end.

    That one is observed, as with metrics or traces: observing must not change what any suite expects.
    """
    if kind == "sqlite":
        put_empty_database(folder / "berth.db")
        async with aclosing(SqliteDatabase.open(f"sqlite:///{folder}/berth.db")) as file:
            yield file
        return
    settings = Settings(request.getfixturevalue("postgres_url"), 5, prepares=True)
    async with aclosing(await PostgresDatabase.open(settings)) as server:
        try:
            yield ObservedDatabase(server, PrometheusMetrics(), NO_TRACER, system="postgresql")
        finally:
            await server.write(_empty)


async def _empty(transaction: Transaction) -> None:
    for (table,) in await transaction.all("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
        if table != "alembic_version":
            await transaction.run(f"DELETE FROM {table}")  # noqa: S608 - names of our own tables
