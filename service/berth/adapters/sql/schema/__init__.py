"""Migrates the tables of the database to the current schema.

`env.py` and `versions/` are run by alembic. Alembic and SQLAlchemy take 21 MiB of
memory, so they are imported only when there is something to migrate.
"""

import sqlite3
from pathlib import Path

from berth.adapters.sql.errors import newer_schema_error
from berth.adapters.sql.rows import fetch_value

HEAD = "0009"
_REVISION = "SELECT version_num FROM alembic_version"
_LOCK_WAIT_SECONDS = 30.0


def migrate(path: Path) -> None:
    """Migrate the database at `path` to HEAD; create it if it does not exist.

    Two processes may do so at the same time: the second one waits, and then finds
    nothing left to do. sqlite3.Error if the database cannot be used,
    StorageError if a newer version of the service has migrated it.
    """
    if current_revision(path) != HEAD:
        _upgrade(path)


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


def _upgrade(path: Path) -> None:
    """Run the missing migrations in one transaction, so that a crash leaves the old schema."""
    from alembic import command  # noqa: PLC0415 - costly, see above
    from alembic.config import Config  # noqa: PLC0415
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
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except CommandError as error:
        raise newer_schema_error(path) from error
    except DBAPIError as error:
        raise error.orig or error from error
