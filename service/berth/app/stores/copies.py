"""Moves an installation to another database and another content store, for `berth store copy`."""

from collections.abc import Iterator
from contextlib import ExitStack, aclosing, closing
from pathlib import Path
from typing import NamedTuple

from berth.adapters.sql.moving.copying import Compared, RowCopy
from berth.adapters.sql.moving.opening import begin_store, open_rows
from berth.app.stores.backups import Copied, copy_content, place_of_content, reported
from berth.app.stores.blobs import open_blobs, open_existing_blobs
from berth.app.stores.database import database_settings, existing_database
from berth.config import Config
from berth.launch.data_folder import claimed
from berth.launch.kept_secrets import copy_secrets
from berth.launch.refusal import StartError

_NOTHING = Copied(0, 0, 0, [])


class StoreCopied(NamedTuple):
    """What was copied and compared. Unless `is_finished`, no Berth can use the target yet."""

    tables: list[Compared]
    content: Copied
    is_finished: bool


async def copy_store(source: Config, target: Config, *, skips_damaged: bool) -> StoreCopied:
    """Copy all rows, and the content that they refer to, from the stores of one configuration into those of another.

    No Berth may use either of them meanwhile. A copy that was killed continues. With `skips_damaged` it is finished
    even if content is missing or damaged in the source. Raises StartError if it fails.
    """
    _require_different(source, target)
    with reported(), ExitStack() as stack:
        rows = await open_rows(database_settings(source))
        for folder in _folders(source, target):
            stack.enter_context(claimed(folder))
        async with aclosing(await begin_store(database_settings(target), rows.place)) as store:
            copy = RowCopy(rows, store)
            await copy.run()
            content = await _copy_content(source, target)
            tables = await copy.compare()
            is_right = not any(table.differences for table in tables) and (skips_damaged or not content.problems)
            if is_right:
                _copy_secrets(source, target)
                await store.finish()
            return StoreCopied(tables, content, is_right)


async def _copy_content(source: Config, target: Config) -> Copied:
    if _content(source) == _content(target):
        return _NOTHING
    async with existing_database(source) as database:
        with closing(open_existing_blobs(source)) as blobs, closing(open_blobs(target)) as others:
            return await copy_content(database, blobs, others, place=place_of_content(target), verifies=True)


def _copy_secrets(source: Config, target: Config) -> None:
    if source.data_dir.resolve() != target.data_dir.resolve():
        copy_secrets(source.data_dir, target.data_dir)


def _folders(source: Config, target: Config) -> Iterator[Path]:
    """Yield the data folders of both, each of which only one process can use."""
    yield source.data_dir
    if source.data_dir.resolve() != target.data_dir.resolve():
        yield target.data_dir


def _require_different(source: Config, target: Config) -> None:
    if source.store_url() == target.store_url():
        raise StartError("store.url: both configurations name the same database")
    if source.store.secret_key_bytes() != target.store.secret_key_bytes():
        raise StartError(
            "store.secret_key: it must be the same in both configurations, because secrets are copied as is"
        )


def _content(config: Config) -> tuple[str, str | None]:
    """Return what tells content stores apart."""
    return config.blobs_url(), config.blobs.endpoint
