"""Rows about pages of 100 containers from a million rows and from a thousand, on SQLite and on PostgreSQL.

They are read from the middle of a list, without a server around the store: a call adds its own cost to both.
"""

import asyncio
import sqlite3
import statistics
import time
from contextlib import aclosing, closing

import rows as measured
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.postgres.connections import Settings
from berth.adapters.sql.postgres.database import PostgresDatabase
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.ports.pages import Pagination
from berth.v1.provider_pb2 import Provider
from servers import Servers

SQLITE, POSTGRES = "SQLite", "PostgreSQL"
FEW, MANY = 1_000, 1_000_000
PAGES = 10
THREE = frozenset({Provider.PROVIDER_OPENAI, Provider.PROVIDER_OLLAMA, Provider.PROVIDER_GROQ})
FILTERS = {"all ms": None, "one provider ms": frozenset({Provider.PROVIDER_GROQ}), "three providers ms": THREE}
COLUMNS = "id, tenant, provider, name, created_at, last_active_at, expires_minutes"
ROW = "'c' || n, 'ours', CASE n % 3 WHEN 0 THEN 'openai' WHEN 1 THEN 'ollama' ELSE 'groq' END, 'box', 1, 1, 20"
NUMBERS = "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < {count})"
FILL = f"INSERT INTO containers ({COLUMNS}) {NUMBERS} SELECT {ROW} FROM numbers"  # noqa: S608 - constants


class Pages(measured.Row):
    """Pages of one kind of database; the subjects are numbers of rows."""

    most_rounds = 7

    def __init__(self, kind: str, many: int = MANY) -> None:
        self.name, self._kind = f"a page of 100 containers, {kind}", kind
        self._counts = {f"{count} rows": count for count in (many, FEW)}
        self.subjects = tuple(self._counts)
        self._urls: dict[str, str] = {}

    def measure(self, bench: measured.Bench, subject: str) -> measured.Figures:
        """Read pages of each kind of list; return the median times."""
        count = self._counts[subject]
        if subject not in self._urls:
            fill = fill_postgres if self._kind == POSTGRES else fill_sqlite
            self._urls[subject] = fill(bench.servers, count)
        return asyncio.run(self._read(self._urls[subject], count))

    async def _read(self, url: str, count: int) -> measured.Figures:
        is_postgres = self._kind == POSTGRES
        database = (
            await PostgresDatabase.open(Settings(url, 2, prepares=True)) if is_postgres else SqliteDatabase.open(url)
        )
        async with aclosing(database):
            store = SqlStore(database)
            return {name: await median_of(store, providers, count) for name, providers in FILTERS.items()}


async def median_of(store: SqlStore, providers: frozenset[Provider] | None, count: int) -> float:
    """Return the median time of a page in milliseconds, in both orders."""
    times = []
    for number in range(2 * PAGES):
        pagination = Pagination(limit=100, after=f"c{count // 2}", descending=number % 2 == 0)
        began = time.perf_counter()
        await store.list_containers("ours", pagination, providers=providers)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def fill_sqlite(servers: Servers, count: int) -> str:
    """Return the URL of a new database with rows."""
    path = servers.new_folder() / "pages.db"
    SqliteDatabase.open(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(FILL.format(count=count))
    return f"sqlite:///{path}"


def fill_postgres(servers: Servers, count: int) -> str:
    """Return the URL of a new database with rows."""
    url = servers.postgres.fresh()
    name = url.rpartition("/")[2]
    asyncio.run(migrate(url))
    servers.postgres.execute(FILL.format(count=count), name)
    servers.postgres.execute("ANALYZE", name)
    return url


async def migrate(url: str) -> None:
    """Create the tables."""
    await (await PostgresDatabase.open(Settings(url, 2, prepares=True))).aclose()


def rows() -> list[measured.Row]:
    """Return the rows."""
    return [Pages(SQLITE), Pages(POSTGRES)]
