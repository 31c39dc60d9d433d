"""What a copy of rows includes, and what it finds."""

import sqlite3
from contextlib import aclosing, closing
from pathlib import Path

import pytest

from berth.adapters.sql.moving.copying import RowCopy
from berth.adapters.sql.moving.opening import begin_store
from berth.adapters.sql.moving.sqlite_sides import SqliteFile, SqliteRows
from berth.adapters.sql.moving.tables import LEFT_OUT, NUMBERED, TABLES
from berth.adapters.sql.opening import DatabaseSettings
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.errors import StorageError
from support.servers.postgres import Postgres

TENANT = "INSERT INTO tenants (tenant, bytes) VALUES (?, ?)"
VIRTUAL_KEY = "INSERT INTO virtual_keys (name, tenant, requests_per_minute, created_at) VALUES ('n', 't', 1 << 31, 1)"
_KEY = "SELECT name FROM pragma_table_info(?) WHERE pk ORDER BY pk"


@pytest.fixture
async def source(tmp_path: Path) -> SqliteRows:
    """Return a source with rows that two databases might order in different ways."""
    path = tmp_path / "source.db"
    await SqliteFile(path).aclose()
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.executemany(TENANT, [("a", 1), ("B", 2), ("é", 3), ("\U0001f600", 4), ("\uffee", 5), ("a b", 6)])
    return SqliteRows.existing(path)


def test_every_table_is_copied_by_its_primary_key(source: SqliteRows) -> None:
    """Each table of the schema is copied in the order of its primary key, or left out on purpose."""
    with closing(sqlite3.connect(source.path)) as rows:
        names = {name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {table.name for table in TABLES} == names - {*LEFT_OUT, "sqlite_sequence"}
        for table in TABLES:
            assert [name for (name,) in rows.execute(_KEY, (table.name,))] == list(table.key)


async def test_only_what_differs_is_changed(source: SqliteRows, tmp_path: Path) -> None:
    """A copy into a database with other rows makes them the same, and a comparison counts what differs."""
    async with aclosing(SqliteFile(tmp_path / "target.db")) as target:
        with closing(sqlite3.connect(target.path)) as rows, rows:
            rows.executemany(TENANT, [("a", 1), ("B", 9), ("gone", 7)])
        copy = RowCopy(source, target)
        assert [each for each in await copy.compare() if each.differences] == [("tenants", 6, 6)]
        await copy.run()
        assert sum(each.differences for each in await copy.compare()) == 0
        with closing(sqlite3.connect(source.path)) as rows, rows:
            rows.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('files', 5)")
        assert [each for each in await copy.compare() if each.differences] == [("files", 0, 1)]


async def test_an_unfinished_database_on_a_server(source: SqliteRows, postgres: Postgres) -> None:
    """What PostgreSQL cannot store is named, all else is copied; until it is finished only the same copy goes on."""
    settings = DatabaseSettings(postgres.fresh())
    name = settings.url.rpartition("/")[2]
    async with aclosing(await begin_store(settings, "source")) as target:
        copy = RowCopy(source, target)
        await copy.run()
        assert sum(each.differences for each in await copy.compare()) == 0
        with closing(sqlite3.connect(source.path)) as rows, rows:
            rows.execute(TENANT, ("nul\0", 1))
        with pytest.raises(StorageError, match="of tenants has a text with NUL"):
            await copy.run()
        with closing(sqlite3.connect(source.path)) as rows, rows:
            rows.execute(VIRTUAL_KEY)
        with pytest.raises(StorageError, match="of virtual_keys has a number"):
            await copy.run()
    with pytest.raises(StorageError, match="has an unfinished copy of source"):
        await begin_store(settings, "another")
    async with aclosing(await begin_store(settings, "source")) as target:
        await target.finish()
    with pytest.raises(StorageError, match="is not empty: it has tenants"):
        await begin_store(settings, "source")
    names = postgres.execute("SELECT relname FROM pg_class WHERE relkind = 'S' AND relname ~ '_seq_seq$'", name)
    assert set(names.split()) == {f"{table}_seq_seq" for table in NUMBERED}  # each of them is advanced
    with pytest.raises(StorageError, match="needs the server itself"):
        await begin_store(settings._replace(prepares=False), "source")


async def test_an_unfinished_file(source: SqliteRows, tmp_path: Path) -> None:
    """A file gets its name when it is finished; until then only a copy of the same source goes on with it."""
    path = tmp_path / "new" / "berth.db"
    settings = DatabaseSettings(f"sqlite:///{path}")
    async with aclosing(await begin_store(settings, "source")) as target:
        await RowCopy(source, target).run()
    with pytest.raises(StorageError, match="copying a store"):
        SqliteDatabase.open(settings.url)
    with pytest.raises(StorageError, match="has an unfinished copy of source"):
        await begin_store(settings, "another")
    async with aclosing(await begin_store(settings, "source")) as target:
        assert sum(each.differences for each in await RowCopy(source, target).compare()) == 0
        await target.finish()
    async with aclosing(SqliteDatabase.open(settings.url)) as database:
        assert await database.value("SELECT count(*) FROM tenants") == 6
    assert {file.name for file in path.parent.iterdir()} == {path.name}
    with pytest.raises(StorageError, match="exists; move it away"):
        await begin_store(settings, "source")
