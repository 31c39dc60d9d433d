"""Opens the configured database for commands."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from berth.adapters.sql.database import Database
from berth.adapters.sql.opening import DatabaseSettings, open_database, open_existing
from berth.app.authorities import check_database_files
from berth.config import Config
from berth.core.errors import BerthError
from berth.launch.data_folder import prepare_folder
from berth.launch.refusal import StartError


def database_settings(config: Config) -> DatabaseSettings:
    """Return how to open the configured database. StartError if a file in its URL cannot be read."""
    check_database_files(config)
    return DatabaseSettings(config.store_url(), config.store.connections, config.store.prepared_statements)


@asynccontextmanager
async def opened_database(config: Config) -> AsyncIterator[Database]:
    """Open the database, migrate it where needed, and close it; Berth may be running or not.

    Raises StartError for its errors, and for those of what is done with it.
    """
    prepare_folder(config.data_dir)
    try:
        async with aclosing(await open_database(database_settings(config))) as database:
            yield database
    except BerthError as error:
        raise StartError(error.message) from error


@asynccontextmanager
async def existing_database(config: Config) -> AsyncIterator[Database]:
    """Open the database as it is, and close it. StorageError if it cannot be used."""
    async with aclosing(await open_existing(database_settings(config))) as database:
        yield database
