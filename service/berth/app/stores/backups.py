"""Makes backups of a running Berth, and restores them.

A backup is a folder like a data folder: the database at one moment, the content that it refers to, and the generated
secrets. The database comes last and replaces the earlier one in one step, so that a backup into the same folder is
complete at every moment, even if it is killed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from berth.adapters.blobs.folder import FileBlobs, folder_of
from berth.adapters.sql.database import Database
from berth.adapters.sql.inventory import SqlInventory
from berth.adapters.sql.moving.copying import RowCopy
from berth.adapters.sql.moving.opening import begin_store, is_server, open_rows
from berth.adapters.sql.moving.sqlite_sides import SqliteFile, SqliteRows
from berth.adapters.sql.opening import DatabaseSettings
from berth.adapters.sql.sqlite.connections import path_of
from berth.adapters.sql.sqlite.copying import (
    copy_database,
    database_files,
    publish_database,
    remove_database,
    restoring_path,
)
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.app.stores.blobs import OpenBlobs, is_folder, open_blobs, open_existing_blobs
from berth.app.stores.database import database_settings
from berth.config import Config
from berth.core.errors import StorageError
from berth.core.hosted.blob_copy import BlobCopy
from berth.launch.backup_folder import claimed_for_backup, kept_for_reading
from berth.launch.data_folder import claimed
from berth.launch.kept_secrets import SECRETS, copy_secrets
from berth.launch.refusal import StartError

_DATABASE = "berth.db"
_NEW = "berth.db.new"
_BLOBS = "blobs"
_DATABASES = (
    f"{name}{suffix}" for name in (_DATABASE, _NEW) for suffix in ("", "-wal", "-shm", "-journal", "-reserve")
)
_KNOWN = {_BLOBS, *_DATABASES, *SECRETS, *(f"{name}.new" for name in SECRETS)}


class Copied(NamedTuple):
    """What was copied: `problems` has a sentence for each blob that could not be."""

    blobs: int
    bytes: int
    present: int
    problems: list[str]


async def back_up(config: Config, target: Path) -> Copied:
    """Make a backup in the folder `target`, new or with an earlier backup, whether or not Berth is running.

    Raises StartError if that fails.
    """
    with (
        reported(),
        claimed_for_backup(target, known=_KNOWN, data=_places(config)),
        closing(open_existing_blobs(config)) as source,
        closing(FileBlobs.open(_url(target / _BLOBS))) as blobs,
    ):
        with source.held():
            # Rows are deleted before content, so the content of all rows of this copy still exists.
            await _copy_rows(database_settings(config), target / _NEW)
            async with _opened(target / _NEW) as rows:
                copied = await copy_content(rows, source, blobs, place=str(target / _BLOBS), verifies=False)
        copy_secrets(config.data_dir, target)
        publish_database(target / _NEW, target / _DATABASE)
        async with _opened(target / _DATABASE) as rows:
            await BlobCopy(SqlInventory(rows), source, blobs).remove_others()
        return copied


async def restore(config: Config, source: Path) -> Copied:
    """Restore the backup in the folder `source` to where the settings say that the data are; there must be none yet.

    Until everything is there, Berth does not start on it. Raises StartError if that fails.
    """
    if not (source / _DATABASE).is_file():
        raise StartError(f"there is no backup in {source}")
    with (
        reported(),
        kept_for_reading(source),
        claimed(config.data_dir),
        closing(FileBlobs.open_copy(_url(source / _BLOBS))) as backup,
        closing(open_blobs(config)) as blobs,
    ):
        into = _into_server if is_server(database_settings(config)) else _into_file
        async with into(config, source / _DATABASE) as rows:
            copied = await copy_content(rows, backup, blobs, place=place_of_content(config), verifies=True)
            copy_secrets(source, config.data_dir)
        return copied


async def _copy_rows(settings: DatabaseSettings, target: Path) -> None:
    """Write all rows of one moment to the new file `target`; an old file there is replaced."""
    if not is_server(settings):
        await asyncio.to_thread(copy_database, path_of(settings.url), target)
        return
    rows = await open_rows(settings, may_be_used=True)
    remove_database(target)
    async with aclosing(SqliteFile(target)) as file:
        await RowCopy(rows, file).run()


@asynccontextmanager
async def _into_file(config: Config, backup: Path) -> AsyncIterator[Database]:
    """Copy the database of a backup, and put it in its place when the context has ended well."""
    path = path_of(config.store_url())
    for file in database_files(path):
        raise StartError(f"store.url: {file} exists; move it away to restore a backup in its place")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = restoring_path(path)
    await _copy_and_migrate(backup, unfinished)
    async with _opened(unfinished) as rows:
        yield rows
    publish_database(unfinished, path)


@asynccontextmanager
async def _into_server(config: Config, backup: Path) -> AsyncIterator[Database]:
    """Copy the rows of a backup into the database, and let a Berth use it when the context has ended well."""
    copy = config.data_dir / f"{_DATABASE}.restored"
    async with aclosing(await begin_store(database_settings(config), "a backup")) as store:
        await _copy_and_migrate(backup, copy)  # the backup stays as it is, and may be of an older version
        try:
            row_copy = RowCopy(SqliteRows(copy), store)
            await row_copy.run()
            async with _opened(copy) as rows:
                yield rows
            if different := [table.table for table in await row_copy.compare() if table.differences]:
                raise StartError(
                    f"Rows of {', '.join(different)} in {store.place} differ from the backup; run it again"
                )
        finally:
            remove_database(copy)
        await store.finish()


async def _copy_and_migrate(backup: Path, target: Path) -> None:
    copy_database(backup, target)
    await SqliteDatabase.open(f"sqlite:///{target}").aclose()


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[Database]:
    async with aclosing(SqliteDatabase.open_existing(f"sqlite:///{path}")) as rows:
        yield rows


async def copy_content(rows: Database, source: OpenBlobs, target: OpenBlobs, *, place: str, verifies: bool) -> Copied:
    """Copy what the rows of a database refer to into `place`. With `verifies`, what is there already is read, too."""
    copy = BlobCopy(SqlInventory(rows), source, target, verifies=verifies)
    try:
        problems = await copy.run()
    except StorageError as error:
        raise StartError(f"Cannot copy files into {place}: {error.message}") from error
    return Copied(copy.copied, copy.bytes, copy.present, problems)


def _url(folder: Path) -> str:
    return folder.absolute().as_uri()


def _places(config: Config) -> list[Path]:
    """Return where the data are."""
    places = [config.data_dir]
    if not is_server(database_settings(config)):
        places.append(path_of(config.store_url()))
    return [*places, folder_of(config.blobs_url())] if is_folder(config) else places


def place_of_content(config: Config) -> str:
    """Return how messages name where the content is."""
    return str(folder_of(config.blobs_url())) if is_folder(config) else config.blobs_url()


@contextmanager
def reported() -> Iterator[None]:
    """Raise StartError for errors of the stores and of the disk."""
    try:
        yield
    except StorageError as error:
        raise StartError(error.message) from error
    except OSError as error:
        raise StartError(f"{error.filename}: {error.strerror}") from error
