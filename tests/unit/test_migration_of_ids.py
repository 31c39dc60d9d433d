"""The migration that lets each tenant have a row of its own for an id: it copies tables that are in use."""

import sqlite3
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine

from berth.adapters.sql.schema import HEAD
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.sqlite.transaction import finish

_INSERT = """
    INSERT INTO containers (id, tenant, provider, name, created_at, last_active_at, expires_minutes)
    VALUES (?, 'ours', 'ollama', 'box', 1, 2, 3)
"""
_INSERT_FILE = """
    INSERT INTO files (id, container_seq, path, bytes, created_at, source, filename, content_type, sha256, blob)
    VALUES ('f1', ?, '/a', 1, 1, 'user', 'a', 'a/b', '', 'blob')
"""


def _older(path: Path) -> sqlite3.Connection:
    """Make a database of the previous version, with a container, its file, and a number that was given out."""
    path.touch(mode=0o600)
    config = Config()
    config.set_main_option("script_location", "berth.adapters.sql:schema")
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0010")
    opened = sqlite3.connect(path, isolation_level=None)
    opened.execute("PRAGMA journal_mode = WAL")
    opened.execute("PRAGMA foreign_keys = 1")
    opened.execute(_INSERT, ("first",))
    opened.execute(_INSERT_FILE, (1,))
    opened.execute(_INSERT, ("gone",))
    opened.execute("DELETE FROM containers WHERE id = 'gone'")
    return opened


def test_the_previous_version_works_on(tmp_path: Path) -> None:
    """While the previous version uses the database, all rows, numbers, keys and indexes stay, and it writes on."""
    path = tmp_path / "berth.db"
    with closing(_older(path)) as older:
        assert older.execute("SELECT count(*) FROM containers").fetchone() == (1,)
        before = _indexes(older)
        with closing(SqliteDatabase.open(f"sqlite:///{path}", is_shared=True)) as newer:
            assert finish(newer.value("SELECT version_num FROM alembic_version")) == HEAD
            older.execute(_INSERT, ("later",))
            assert older.execute("SELECT seq, id FROM containers ORDER BY seq").fetchall() == [
                (1, "first"),
                (3, "later"),
            ]
            assert finish(newer.value("SELECT name FROM containers WHERE id = ?", "later")) == "box"
            joined = "SELECT containers.id FROM files JOIN containers ON containers.seq = files.container_seq"
            assert finish(newer.value(joined)) == "first"
        assert before <= _indexes(older)
        assert older.execute("PRAGMA foreign_key_check").fetchall() == []
        assert older.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def _indexes(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
    return {sql for (sql,) in rows}
