"""What is special about SqlStore: how it opens, what it costs, and how it fails."""

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from berth.adapters.sql import container_writes, containers, files, schema
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Transaction
from berth.adapters.sql.pages import containers_query, files_query
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.sqlite.transaction import finish
from berth.adapters.sql.upkeep import adoption
from berth.core.errors import InvalidRequestError, StorageError
from berth.core.ports.pages import Pagination
from berth.v1.container_service_pb2 import DomainSecret
from support.fakes.records import ROOMY, container, file
from support.fakes.stores import FixedClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "berth.db"


@pytest.fixture
def database(path: Path) -> Iterator[SqliteDatabase]:
    opened = SqliteDatabase.open(f"sqlite:///{path}")
    yield opened
    opened.close()


@pytest.fixture
def store(database: SqliteDatabase) -> SqlStore:
    return SqlStore(database, now=lambda: 1_700_000_000.9)


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


async def test_rows_survive_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written before closing is there after reopening, by a relative and by an absolute URL."""
    monkeypatch.chdir(tmp_path)
    opened = SqliteDatabase.open("sqlite:///berth.db")
    first = SqlStore(opened, now=FixedClock())
    await first.add_container(container("box"))
    await first.add_file("ours", file("f"), quotas=ROOMY)
    opened.close()
    opened = SqliteDatabase.open(f"sqlite:///{tmp_path}/berth.db")
    second = SqlStore(opened)
    assert (await second.get_container("ours", "box")).container.name == "box"
    assert (await second.get_file("ours", "box", "f"))[1].blob == "blob of f"
    opened.close()


async def test_only_the_owner_may_read_the_files(store: SqlStore, path: Path) -> None:
    """The database holds secrets, so it is closed to other users, its write-ahead log as well."""
    await store.add_container(container("box"))
    assert modes_in(path.parent) == {"berth.db": 0o600, "berth.db-shm": 0o600, "berth.db-wal": 0o600}


def test_head_is_the_last_migration() -> None:
    """The constant that spares the import of alembic is alembic's own head."""
    config = Config()
    config.set_main_option("script_location", "berth.adapters.sql:schema")
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_two_processes_may_make_it_at_once(path: Path) -> None:
    """Of two processes that open a new database at the same time, both succeed."""
    code = (
        "import sys; from berth.adapters.sql.sqlite.database import SqliteDatabase;"
        " SqliteDatabase.open(sys.argv[1]).close()"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, f"sqlite:///{path}"]) for _ in range(2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    assert rows(path, "SELECT version_num FROM alembic_version") == [(schema.HEAD,)]


def test_commits_are_durable(database: SqliteDatabase) -> None:
    """Writes go to a write-ahead log and wait for the disk at every commit; keys between tables are checked."""
    pragmas = ["journal_mode", "synchronous", "foreign_keys"]
    connection = database._writer._connection
    assert [connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas] == ["wal", 2, 1]


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(("providers", "by_name"), [(n, by) for n in (None, 1, 2, 23) for by in (True, False)])
def test_lists_read_only_what_they_show(
    database: SqliteDatabase, providers: int | None, *, by_name: bool, descending: bool
) -> None:
    """Every list follows an index from its cursor on: nothing is scanned and nothing sorted."""
    query = containers_query(providers=providers, by_name=by_name, descending=descending)
    names = {f"provider{i}": "" for i in range(providers or 0)}
    values = {**names, "tenant": "", "name": "", "seq": 1, "limit": 101}
    index = {
        (False, False): "containers_by_tenant",
        (True, False): "containers_by_provider",
        (False, True): "containers_by_name",
        (True, True): "containers_by_provider_and_name",
    }[bool(providers), by_name]
    _assert_plan(database, query, values, index)


@pytest.mark.parametrize("descending", [True, False])
def test_lists_of_files_read_only_what_they_show(database: SqliteDatabase, *, descending: bool) -> None:
    """The list of a container's files follows an index from its cursor on."""
    values = {"container_seq": 1, "seq": 1, "limit": 101}
    _assert_plan(database, files_query(descending=descending), values, "files_by_container")


def _assert_plan(database: SqliteDatabase, query: str, values: Mapping[str, object], index: str) -> None:
    steps = [row[3] for row in database._reads.execute(f"EXPLAIN QUERY PLAN {query}", values)]
    searches = [step for step in steps if step.startswith("SEARCH")]
    assert searches
    assert all(f" {index} " in step and ("seq<?" in step or "seq>?" in step) for step in searches)
    assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    "query",
    [
        containers._GET_CONTAINER,
        containers._GET_FILE,
        containers._GET_PROVIDER,
        containers._CONTAINER_SEQ,
        containers._CONTAINER_CURSOR,
        containers._FOREIGN,
        container_writes._IS_TAKEN,
        container_writes._CONTAINER,
        files._GET,
        files._GET_PROVIDER,
        files._CURSOR,
        files._FOREIGN,
        files._FIND,
    ],
)
def test_point_reads_search_by_id(database: SqliteDatabase, query: str) -> None:
    """A container, and a file with its container, are found by unique ids alone."""
    steps = [row[3] for row in database._reads.execute(f"EXPLAIN QUERY PLAN {query}", ("",) * query.count("?"))]
    assert all(step.startswith("SEARCH") and step.endswith(("(id=?)", "(rowid=?)")) for step in steps)


def test_a_purge_finds_only_what_has_expired(database: SqliteDatabase) -> None:
    """Expired containers are found by their expiry alone, in its order, however many others there are."""
    steps = [row[3] for row in database._reads.execute(f"EXPLAIN QUERY PLAN {container_writes._EXPIRED}", (0, 100))]
    assert steps == ["SEARCH containers USING INDEX containers_by_expiry (<expr><?)"]


@pytest.mark.parametrize(
    ("query", "index"),
    [(adoption.EXPIRED, "containers_by_adopted_expiry"), (adoption.CREATED_EXPIRED, "containers_by_passed_expiry")],
)
def test_forgotten_containers_are_found_by_their_expiry(database: SqliteDatabase, query: str, index: str) -> None:
    """However many others there are at providers."""
    plan = database._reads.execute(f"EXPLAIN QUERY PLAN {query}", {"before": 0, "limit": 100})
    assert [row[3] for row in plan] == [f"SEARCH containers USING INDEX {index} (<expr><?)"]


async def test_secrets_go_with_their_container(store: SqlStore, path: Path) -> None:
    """Domain secrets are kept apart, and removed at once when their container is deleted."""
    secrets = [DomainSecret(domain="a.example", name="token", value="hush"), DomainSecret(domain="b.example")]
    await store.add_container(container("box"), domain_secrets=secrets)
    query = "SELECT domain, name, value FROM domain_secrets ORDER BY seq"
    assert rows(path, query) == [("a.example", "token", "hush"), ("b.example", "", "")]
    await store.delete_container("ours", "box")
    assert rows(path, query) == []


async def test_deleted_rows_carry_the_time(store: SqlStore, path: Path) -> None:
    """Deleted rows stay, with the second of their deletion, for cursors and for a later sweep."""
    await store.add_container(container("box"))
    await store.add_file("ours", file("f1"), quotas=ROOMY)
    await store.add_file("ours", file("f2"), quotas=ROOMY)
    await store.delete_file("ours", "box", "f1")
    assert rows(path, "SELECT bytes, deleted_at FROM containers") == [(10, None)]
    await store.delete_container("ours", "box")
    assert rows(path, "SELECT bytes, deleted_at FROM containers") == [(0, 1_700_000_000)]
    assert rows(path, "SELECT deleted_at FROM files") == [(1_700_000_000,)] * 2


async def test_text_that_is_no_unicode_is_refused(store: SqlStore) -> None:
    """A file whose name cannot be stored is a bad request, and the write beside it succeeds."""
    await store.add_container(container("box"))
    bad = store.add_file("ours", replace(file("f1"), filename="\ud800"), quotas=ROOMY)
    good = store.add_file("ours", file("f2"), quotas=ROOMY)
    outcomes = await asyncio.gather(bad, good, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InvalidRequestError, str]


async def test_a_failed_write_takes_back_its_own_changes_only(store: SqlStore, database: SqliteDatabase) -> None:
    """Writes that share a commit with one that fails half-way are not touched by it."""

    async def fail_half_way(transaction: Transaction) -> None:
        await transaction.run("DELETE FROM containers")
        raise ZeroDivisionError

    attempts = [store.add_container(container("c1")), database.write(fail_half_way)]
    attempts.append(store.add_container(container("c2")))
    outcomes = await asyncio.gather(*attempts, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), ZeroDivisionError, type(None)]
    page = await store.list_containers("ours", Pagination(limit=9))
    assert [record.container.id for record in page.data] == ["c2", "c1"]


async def test_an_id_that_is_not_new_is_an_error(store: SqlStore) -> None:
    """Two containers cannot have one id; the first stays as it is."""
    await store.add_container(container("box"))
    with pytest.raises(StorageError):
        await store.add_container(container("box", name="other"))
    assert (await store.get_container("ours", "box")).container.name == "box"


async def test_a_full_disk_is_told(store: SqlStore, database: SqliteDatabase) -> None:
    """When the disk is full writes say so, reads go on, and writes work again when there is room."""
    await store.add_container(container("before"))
    (pages,) = database._writer._connection.execute("PRAGMA page_count").fetchone()
    database._writer._connection.execute(f"PRAGMA max_page_count = {pages}")
    big = [store.add_container(container(f"c{i}", name="x" * 100_000)) for i in range(3)]
    outcomes = await asyncio.gather(*big, return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["The store's disk is full."] * 3
    assert (await store.get_container("ours", "before")).container.name == "box"
    database._writer._connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
    await store.add_container(container("after", name="x" * 100_000))


async def test_a_locked_database_is_told(store: SqlStore, database: SqliteDatabase, path: Path) -> None:
    """While another process holds the write lock for too long writes say so, and reads go on."""
    await store.add_container(container("box"))
    database._writer._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match=r"^The store is locked by another process\.$") as caught:
        await store.add_container(container("c1"))
    assert caught.value.code == "storage_unavailable"
    assert await store.get_container("ours", "box")
    other.close()
    await store.add_container(container("c1"))


async def test_a_damaged_database_is_told(store: SqlStore, database: SqliteDatabase, path: Path) -> None:
    """Reading pages that hold something else is an error of the store, and not a wrong answer."""
    for i in range(200):
        await store.add_container(container(f"c{i}", name="x" * 500))
    database.close()
    size = path.stat().st_size  # noqa: ASYNC240 - a test has time
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (size - 4096))  # noqa: ASYNC240 - as above
    with pytest.raises(StorageError, match="damaged"):
        SqliteDatabase.open(f"sqlite:///{path}")


async def test_a_closed_store_says_so(store: SqlStore, database: SqliteDatabase) -> None:
    """Reading and writing after closing are errors of the store."""
    database.close()
    for attempt in (store.get_container("ours", "box"), store.add_container(container("box"))):
        with pytest.raises(StorageError):
            await attempt
    with pytest.raises(StorageError):
        await store.list_containers("ours", Pagination(limit=1))


def test_a_file_that_is_no_database_is_refused(path: Path) -> None:
    """The operator is told which file is not a database."""
    path.parent.mkdir()
    path.write_text("once upon a time " * 1000)
    with pytest.raises(StorageError, match=r"^Cannot open the store /.*: The store's database file is not a database"):
        SqliteDatabase.open(f"sqlite:///{path}")


@pytest.mark.parametrize("table", ["containers", "alembic_version"])
def test_a_database_of_something_else_is_left_alone(path: Path, table: str) -> None:
    """A database with tables of the same names that are not ours is refused, and nothing is added to it."""
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} (mine TEXT)")
    connection.close()
    with pytest.raises(StorageError, match=f"^Cannot open the store {path}: The store failed"):
        SqliteDatabase.open(f"sqlite:///{path}")
    assert rows(path, "SELECT name FROM sqlite_schema") == [(table,)]


def test_a_database_of_a_newer_version_is_refused(database: SqliteDatabase, path: Path) -> None:
    """A database that a newer version has migrated is not touched."""
    database._writer._connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match=r"made by a newer version of the service\.$"):
        SqliteDatabase.open(f"sqlite:///{path}")


UNDONE = (
    *(
        f"DROP TABLE {table}"
        for table in (
            "leftovers",
            "usage",
            "usage_minutes",
            "stored_bytes",
            "reservations",
            "leases",
            "execs",
            "exec_output",
        )
    ),
    "ALTER TABLE files DROP COLUMN modified_at",
    "DROP INDEX containers_by_meter",
    *(f"ALTER TABLE containers DROP COLUMN {name}" for name in ("created_by", "metered_from", "meter_open")),
    *(f"ALTER TABLE containers DROP COLUMN {name}" for name in ("counted_minutes", "metered_bytes")),
    *(f"ALTER TABLE containers DROP COLUMN {name}" for name in ("byte_seconds", "bytes_since")),
    "ALTER TABLE tenant_files DROP COLUMN created_by",
    *(f"ALTER TABLE virtual_keys DROP COLUMN {name}" for name in ("budget_nano_usd", "budget_period")),
)
"""What the migrations after 0009 add, undone."""


def test_a_table_is_added_while_the_previous_version_runs(database: SqliteDatabase, path: Path) -> None:
    """A database that another process uses is migrated if that only expands its schema."""
    older = database._writer._connection
    for statement in UNDONE:
        older.execute(statement)
    older.execute("UPDATE alembic_version SET version_num = '0009'")
    with closing(SqliteDatabase.open(f"sqlite:///{path}", is_shared=True)) as newer:
        assert finish(newer.value("SELECT version_num FROM alembic_version")) == schema.HEAD
        assert finish(database.value("SELECT count(*) FROM containers")) == 0


def test_another_migration_waits_until_the_previous_version_has_ended(database: SqliteDatabase, path: Path) -> None:
    """A migration that does not only expand the schema is refused, and nothing changes, while another process runs."""
    database._writer._connection.execute("UPDATE alembic_version SET version_num = '0005'")
    with pytest.raises(StorageError, match=r"migration 0006 needs it for itself\. Stop the running version first"):
        SqliteDatabase.open(f"sqlite:///{path}", is_shared=True)
    assert finish(database.value("SELECT version_num FROM alembic_version")) == "0005"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://user:secret@host/db", r"^Cannot open the store: .*the scheme here is 'postgresql'\.$"),
        ("berth.db", "the scheme here is 'none'"),
        ("sqlite:///", "a path has to follow"),
        ("sqlite:///:memory:", "a path has to follow"),
        ("sqlite:////dev/null/x/berth.db", r"^Cannot open the store /dev/null/x/berth.db: Not a directory"),
        ("sqlite:////", r"^Cannot open the store /: "),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused(url: str, message: str) -> None:
    """The operator is told what is wrong, without any secret in the URL."""
    with pytest.raises(StorageError, match=message) as caught:
        SqliteDatabase.open(url)
    assert "secret" not in caught.value.message
