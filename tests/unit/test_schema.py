"""The SQL that creates an empty database: it is what the migrations make of one, and alembic is not needed for it."""

import runpy
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from berth.adapters.sql.schema import HEAD, creation
from berth.adapters.sql.sqlite.migration import migrate, upgrade
from support.servers.postgres import Postgres

ROOT = Path(__file__).parents[2]
PRAGMAS = ("auto_vacuum", "encoding", "page_size", "user_version", "application_id")
OPENS = """
import asyncio, sys
from berth.adapters.sql.opening import DatabaseSettings, open_database

async def main():
    await (await open_database(DatabaseSettings(sys.argv[1]))).aclose()

asyncio.run(main())
sys.exit(bool({"alembic", "sqlalchemy"} & set(sys.modules)))
"""


def content(path: Path) -> list[object]:
    """Return everything that is in a database: each table with its indexes in their order, all rows, and the header.

    The table that SQLite makes for itself, `sqlite_sequence`, may be at another place among the tables.
    """
    with closing(sqlite3.connect(path)) as connection:
        definitions = connection.execute(
            "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY tbl_name, rowid"
        ).fetchall()
        tables = [name for kind, name, _, _ in definitions if kind == "table"]
        rows = {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in tables}  # noqa: S608 - its own names
        return [definitions, rows, *(connection.execute(f"PRAGMA {name}").fetchall() for name in PRAGMAS)]


def test_what_creates_a_database_is_fresh() -> None:
    """The committed SQL is what the migrations make of an empty database, on SQLite and on PostgreSQL."""
    texts = runpy.run_path(str(ROOT / "service" / "generate.py"))["texts"]()
    stale = [name for name, text in texts.items() if creation(name.removesuffix(".sql")) != text]
    assert stale == [], "run `python service/generate.py`"


def test_a_created_database_is_like_a_migrated_one(tmp_path: Path) -> None:
    """On SQLite the definitions, byte for byte, the rows and the header are the same."""
    created, migrated = tmp_path / "created.db", tmp_path / "migrated.db"
    migrate(created)
    upgrade(migrated)
    assert content(created) == content(migrated)


def test_a_database_without_our_tables_is_migrated(tmp_path: Path) -> None:
    """A database with a table of something else is not empty: alembic adds the tables to it, as it always did."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE other (mine TEXT)")
    migrate(path)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
        assert connection.execute("SELECT count(*) FROM other").fetchone() == (0,)


@pytest.mark.parametrize("system", ["sqlite", "postgres"])
def test_alembic_is_not_needed(request: pytest.FixtureRequest, tmp_path: Path, system: str) -> None:
    """Neither who creates a database nor who opens a current one imports alembic or SQLAlchemy."""
    if system == "sqlite":
        url = f"sqlite:///{tmp_path}/berth.db"
    else:
        postgres: Postgres = request.getfixturevalue("postgres")
        url = postgres.fresh()
    for _ in ("create", "open"):
        subprocess.run([sys.executable, "-c", OPENS, url], check=True, timeout=60)
