"""Migrates the tables of the database to the current schema.

A migration that the previous version of the service can live with, because it only
adds what that version neither reads nor has to write, says so with `expands = True`.
Only such migrations run while that version is still running. What is no longer used
is removed by a later version.

`env.py` and `versions/` are run by alembic. Alembic and SQLAlchemy take 21 MiB of
memory, so they are imported only when there is something to migrate.
"""

import sqlite3
from pathlib import Path

from berth.adapters.sql.errors import newer_schema_error, shared_schema_error
from berth.adapters.sql.rows import fetch_value

HEAD = "0009"
_REVISION = "SELECT version_num FROM alembic_version"
_LOCK_WAIT_SECONDS = 30.0


def migrate(path: Path, *, is_shared: bool = False) -> None:
    """Migrate the database at `path` to HEAD; create it if it does not exist.

    With `is_shared`, an older version of the service uses the database meanwhile:
    StorageError unless all missing migrations expand the schema.

    Two processes may do so at the same time: the second one waits, and then finds
    nothing left to do. sqlite3.Error if the database cannot be used,
    StorageError if a newer version of the service has migrated it.
    """
    revision = current_revision(path)
    if revision != HEAD:
        _upgrade(path, only_expand_from=revision if is_shared else None)


def current_revision(path: Path) -> str | None:
    """Return the revision of the database at `path`, None if the database is empty."""
    connection = sqlite3.connect(path)
    try:
        revision: str | None = fetch_value(connection, _REVISION)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    finally:
        connection.close()
    return revision


def _upgrade(path: Path, *, only_expand_from: str | None) -> None:
    """Run the missing migrations in one transaction, so that a crash leaves the old schema.

    If the current revision is given as `only_expand_from`, StorageError unless all of them expand the schema.
    """
    from alembic import command  # noqa: PLC0415 - costly, see above
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_WAIT_SECONDS)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on an empty database only
        return connection

    config = Config()
    config.set_main_option("script_location", "berth.adapters.sql:schema")
    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    try:
        if only_expand_from is not None:
            for script in ScriptDirectory.from_config(config).iterate_revisions("head", only_expand_from):
                if not getattr(script.module, "expands", False):
                    raise shared_schema_error(path, script.revision)
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except CommandError as error:
        raise newer_schema_error(path) from error
    except DBAPIError as error:
        raise error.orig or error from error
