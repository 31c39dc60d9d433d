"""HostedBackend on real stores in a folder, and a look at what is in them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Row
from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.sqlite.transaction import finish
from berth.adapters.sql.upkeep.store import SqlUpkeep
from berth.core.background import BackgroundTasks
from berth.core.errors import StorageError
from berth.core.hosted.container_rules import HostedLimits
from berth.core.hosted.containers import HostedBackend
from berth.core.hosted.content import ContentStore
from berth.core.hosted.files import HostedFiles
from berth.core.hosted.steady_clock import SteadyClock
from berth.core.hosted.sweeper import Retention, Sweeper
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.container_store import ContainerStore, Quotas
from berth.core.ports.file_store import FileStore
from berth.core.routing.file_ownership import FileOwnership
from support.fakes.budgets import unlimited
from support.fakes.files import MemoryFiles
from support.fakes.stores import FixedClock, SequentialIds
from support.servers.empty_database import put_empty_database

QUOTAS = Quotas(container_bytes=250_000, tenant_bytes=600_000)
LIMITS = HostedLimits(default_minutes=20, max_minutes=60, max_file_bytes=100_000, quotas=QUOTAS)


class Left(NamedTuple):
    """How much there is: living rows, and blobs, half-written ones included."""

    containers: int = 0
    files: int = 0
    blobs: int = 0


@dataclass(frozen=True)
class Kept:
    """A HostedBackend, its rows, the database that has them, its clock, and the folder that everything is in."""

    backend: HostedBackend
    files: HostedFiles
    store: SqlStore
    file_store: SqlFiles
    blobs: FileBlobs
    database: SqliteDatabase
    clock: FixedClock
    folder: Path

    def row(self, query: str) -> Row | None:
        """Return the first row of a query."""
        return finish(self.database.one(query))

    def left(self) -> Left:
        """Count what is there."""
        with closing(sqlite3.connect(self.folder / "berth.db")) as connection:
            containers, files = (
                connection.execute(f"SELECT count(*) FROM {table} WHERE deleted_at IS NULL").fetchone()[0]  # noqa: S608 - constants
                for table in ("containers", "files")
            )
        return Left(containers, files, sum(path.is_file() for path in (self.folder / "blobs").rglob("*")))


def sweeper(
    database: SqliteDatabase,
    blobs: FileBlobs,
    *,
    clock: FixedClock,
    retention_seconds: int = 0,
    tombstone_seconds: int = 86_400,
    grace_seconds: int = 0,
) -> Sweeper:
    """Return a sweeper of stores in `database`; its clock is never set, it only advances."""
    return Sweeper(
        SqlStore(database, now=clock),
        SqlFiles(database, now=clock),
        blobs,
        SqlUpkeep(database, now=clock),
        clock=SteadyClock(now=clock, monotonic=clock),
        retention=Retention(retention_seconds, tombstone_seconds, usage_days=400),
        grace_seconds=grace_seconds,
    )


def hosted(
    store: ContainerStore, blobs: BlobStore, *, clock: FixedClock, files: FileStore | None = None
) -> HostedBackend:
    """Return a HostedBackend with small LIMITS and with ids that follow each other."""
    return hosted_both(store, files or MemoryFiles(clock), blobs, clock=clock)[0]


def hosted_both(
    store: ContainerStore,
    files: FileStore,
    blobs: BlobStore,
    *,
    clock: FixedClock,
    report_damage: Callable[[str], None] = lambda _: None,
    report_left: Callable[[StorageError], None] = lambda _: None,
    ids: SequentialIds | None = None,
) -> tuple[HostedBackend, HostedFiles]:
    """Return a HostedBackend and HostedFiles on the same stores; see `hosted`."""
    background, new_id = BackgroundTasks(), ids or SequentialIds()
    content = ContentStore(
        blobs,
        max_bytes=LIMITS.max_file_bytes,
        new_id=new_id,
        background=background,
        report_damage=report_damage,
        report_left=report_left,
    )
    containers = HostedBackend(
        store=store,
        files=FileOwnership(files),
        content=content,
        limits=LIMITS,
        now=clock,
        new_id=new_id,
        background=background,
        budgets=unlimited(),
    )
    return containers, HostedFiles(
        store=files,
        content=content,
        quotas=QUOTAS,
        now=clock,
        new_id=new_id,
    )


@contextmanager
def keeping(folder: Path) -> Iterator[Kept]:
    """Open a HostedBackend on stores in `folder`."""
    clock = FixedClock()
    blobs = FileBlobs.open(f"file://{folder}/blobs")
    put_empty_database(folder / "berth.db")
    with closing(SqliteDatabase.open(f"sqlite:///{folder}/berth.db")) as database:
        store, file_store = SqlStore(database, now=clock), SqlFiles(database, now=clock)
        backend, files = hosted_both(store, file_store, blobs, clock=clock)
        yield Kept(backend, files, store, file_store, blobs, database, clock, folder)
    blobs.close()
