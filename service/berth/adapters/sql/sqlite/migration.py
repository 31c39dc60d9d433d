"""Creates the tables in a file, or migrates them to the current schema."""

import sqlite3
from contextlib import closing
from pathlib import Path

from berth.adapters.sql.schema import HEAD, REVISION, creation
from berth.adapters.sql.sqlite.errors import newer_schema_error, shared_schema_error
from berth.adapters.sql.sqlite.transaction import fetch_value

_LOCK_WAIT_SECONDS = 30.0
_IS_EMPTY = "SELECT NOT EXISTS (SELECT 1 FROM sqlite_master)"


def migrate(path: Path, *, is_shared: bool = False) -> None:
    """Migrate the database at `path` to HEAD; create it if it does not exist.

    With `is_shared`, an older version of the service uses the database meanwhile:
    StorageError unless all missing migrations expand the schema.

    Two processes may do so at the same time: the second one waits, and then finds
    nothing left to do. sqlite3.Error if the database cannot be used,
    StorageError if a newer version of the service has migrated it.
    """
    revision = current_revision(path)
    if revision is None:
        _create(path)
        revision = current_revision(path)
    if revision != HEAD:
        upgrade(path, only_expand_from=revision if is_shared else None)


def current_revision(path: Path) -> str | None:
    """Return the revision of the database at `path`, None if the database is empty."""
    connection = sqlite3.connect(path)
    try:
        revision: str | None = fetch_value(connection, REVISION)
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    finally:
        connection.close()
    return revision


def _create(path: Path) -> None:
    """Create the tables in one transaction, so that a crash leaves none, if the database is empty."""
    with closing(_connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        if fetch_value(connection, _IS_EMPTY):  # another process may have created them in the meantime
            for statement in creation("sqlite").split(";\n"):  # executescript() would end the transaction first
                connection.execute(statement)
        connection.execute("COMMIT")


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=_LOCK_WAIT_SECONDS)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has an effect on an empty database only
    connection.execute("PRAGMA temp_store = MEMORY")  # there may be no folder for temporary files
    return connection


def upgrade(path: Path, *, only_expand_from: str | None = None) -> None:
    """Run the missing migrations in one transaction, so that a crash leaves the old schema.

    If the current revision is given as `only_expand_from`, StorageError unless all of them expand the schema.
    """
    from alembic import command  # noqa: PLC0415 - costly, see the package
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415
    from sqlalchemy import NullPool, create_engine  # noqa: PLC0415
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "berth.adapters.sql:schema")
    engine = create_engine("sqlite://", creator=lambda: _connect(path), poolclass=NullPool)
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
