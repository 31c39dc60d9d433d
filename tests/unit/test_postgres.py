"""PostgreSQL as a store: how it is opened, what its failures become, and what a lost connection means."""

import asyncio
import gc
import re
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Transaction
from berth.adapters.sql.opening import DatabaseSettings, open_database, open_existing
from berth.adapters.sql.postgres import migration
from berth.adapters.sql.postgres.connections import Settings, connect
from berth.adapters.sql.postgres.database import PostgresDatabase
from berth.adapters.sql.schema import HEAD
from berth.core.errors import StorageError
from berth.core.validation import file_not_found
from support.certs.authority import Authority
from support.clients.polling import wait_until
from support.fakes.records import container
from support.guides import blocks
from support.servers.postgres import Postgres
from support.servers.postgres_tls import encrypted

BACKENDS = "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'berth'"
AS_BEFORE = "ALTER TABLE execs DROP COLUMN session; UPDATE alembic_version SET version_num = '0015'"
REVISION = "SELECT version_num FROM alembic_version"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[PostgresDatabase]:
    async with aclosing(await PostgresDatabase.open(Settings(postgres_url, 2, prepares=True))) as opened:
        yield opened


def test_the_statements_of_the_page(postgres: Postgres) -> None:
    """What the page for operators has administrators run makes a role and its database; only their name is another."""
    (statements,) = blocks("docs/operations.md", "sql")
    for statement in statements.strip().splitlines():
        postgres.execute(re.sub(r"\bberth\b", "operator", statement))
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'operator'"
    assert postgres.execute(owner) == "operator\n"


async def refusal(url: str) -> str:
    """Return why a database cannot be opened."""
    with pytest.raises(StorageError) as caught:
        await open_database(DatabaseSettings(url))
    return caught.value.message


async def test_starts_at_the_same_time_migrate_once(postgres: Postgres) -> None:
    """Of ten processes that open an empty database at once, each finds the newest schema."""
    url = postgres.fresh()
    opened = await asyncio.gather(*(open_database(DatabaseSettings(url, connections=1)) for _ in range(10)))
    assert [await database.value(REVISION) for database in opened] == [HEAD] * 10
    assert await opened[0].value("SELECT count(*) FROM alembic_version") == 1
    for database in opened:
        await database.aclose()


async def test_a_database_that_is_not_there_is_named(postgres: Postgres) -> None:
    """The message has the address without user and password, and what the driver says only as the cause."""
    url = f"postgresql://someone:secret@127.0.0.1:{postgres.port}/nothing"
    place = f"Cannot open the store postgresql://127.0.0.1:{postgres.port}"
    assert await refusal(url) == f"{place}/nothing: Access to the store was denied."
    known = url.replace("someone", "berth")
    assert await refusal(known) == f"{place}/nothing: The store's database does not exist."
    assert await refusal(f"{known}?sslmode=wrong") == f"{place}/nothing: a parameter of its URL is not valid."


async def test_a_server_that_does_not_come_is_waited_for(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is reported once, and after a while the start fails with it."""
    monkeypatch.setattr(migration, "WAIT_SECONDS", 0.7)
    url, reports = f"postgresql://berth@127.0.0.1:{unused_tcp_port}/berth", list[str]()
    with pytest.raises(StorageError, match="The store cannot be reached"):
        await open_database(DatabaseSettings(url), report=reports.append)
    assert reports == ["The store cannot be reached."]


async def test_a_database_of_another_version_is_left_alone(postgres: Postgres) -> None:
    """One of a newer version is refused, and one without tables is not created by who only looks at it."""
    url = postgres.fresh()
    with pytest.raises(StorageError, match="was not migrated yet"):
        await open_existing(DatabaseSettings(url))
    await (await open_database(DatabaseSettings(url))).aclose()
    await (await open_existing(DatabaseSettings(url))).aclose()
    postgres.execute("UPDATE alembic_version SET version_num = '9999'", url.rpartition("/")[2])
    assert "made by a newer version of the service" in await refusal(url)


async def test_a_migration_lets_calls_pass(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a table that it needs is in use, it tries again and again, so that calls do not wait behind it for long."""
    monkeypatch.setattr(migration, "_BRIEFLY", "SET LOCAL lock_timeout = 50")
    monkeypatch.setattr(migration, "_PAUSE_SECONDS", 0.01)
    settings, reports = Settings(postgres.fresh(), 1, prepares=True), asyncio.Queue[str]()
    async with aclosing(await PostgresDatabase.open(settings)) as database:
        postgres.execute(AS_BEFORE, settings.url.rpartition("/")[2])
        backup = await connect(settings)
        async with backup.transaction():
            await backup.fetchval("SELECT count(*) FROM execs")
            starting = asyncio.create_task(PostgresDatabase.open(settings, report=reports.put_nowait))
            assert await reports.get() == "A table to migrate is in use, such as by a backup."
            for _ in range(10):
                assert await database.value("SELECT count(*) FROM execs") == 0
            assert not starting.done()
        await backup.close()
        await (await starting).aclose()
        assert await database.value(REVISION) == HEAD


async def test_a_user_without_rights_is_told(postgres: Postgres) -> None:
    """A role that may not create tables is an error of the operator's, and nothing is half done."""
    url = postgres.fresh()
    name = url.rpartition("/")[2]
    postgres.execute("CREATE ROLE reader LOGIN")
    assert await refusal(url.replace("berth@", "reader@")) == (
        f"Cannot open the store postgresql://127.0.0.1:{postgres.port}/{name}: Access to the store was denied."
    )
    assert postgres.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", name).strip() == "0"


async def test_another_encoding_is_refused(postgres: Postgres) -> None:
    """Text of any language has to fit."""
    postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    assert "its encoding is not UTF8" in await refusal(postgres.url("latin"))


async def test_tls_is_verified(postgres: Postgres, tmp_path: Path) -> None:
    """With `sslmode=verify-full` only a server whose certificate the file vouches for is used; `require` needs TLS."""
    authority, other = Authority(), Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server().write(tmp_path, "server"))
    for name, each in (("right", authority), ("wrong", other)):
        (tmp_path / f"{name}.pem").write_bytes(each.pem)
    plain = postgres.fresh()
    assert "offers no TLS" in await refusal(f"{plain}?sslmode=require")
    async with encrypted(postgres.port, context) as port:
        url = plain.replace(f"127.0.0.1:{postgres.port}", f"localhost:{port}") + "?sslmode=verify-full&sslrootcert="
        await (await open_database(DatabaseSettings(f"{url}{tmp_path}/right.pem"))).aclose()
        assert "its certificate is not trusted" in await refusal(f"{url}{tmp_path}/wrong.pem")
        assert "a file that its URL names does not exist" in await refusal(f"{url}{tmp_path}/none.pem")


async def test_nothing_is_prepared_behind_a_pooler(postgres_url: str) -> None:
    """Without `store.prepared_statements` no statement outlives its transaction, nor does any setting."""
    for prepares, expected in ((True, True), (False, False)):
        database = await PostgresDatabase.open(Settings(postgres_url, 1, prepares=prepares))
        await SqlStore(database).foreign("ours", "box")
        count = await database.value("SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE ''")
        assert (count > 1) is expected
        await database.aclose()


async def test_a_lost_connection_is_not_noticed(postgres: Postgres, database: PostgresDatabase) -> None:
    """Connections that the server has closed while nobody used them are replaced, for reads and for writes."""
    store = SqlStore(database)
    await store.foreign("ours", "box")
    for _ in range(2):
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'berth'")
        assert await store.foreign("ours", "box") == []
        postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'berth'")
        await database.check()


async def test_a_connection_that_is_lost_in_a_transaction_undoes_it(
    postgres: Postgres, database: PostgresDatabase
) -> None:
    """The write fails, may be repeated, and has changed nothing."""

    async def add_and_lose(transaction: Transaction) -> None:
        await transaction.run("INSERT INTO leases (name, owner, lease_until) VALUES ('lost', '', 0)")
        pid = await transaction.value("SELECT pg_backend_pid()")
        postgres.execute(f"SELECT pg_terminate_backend({pid})")
        await transaction.value("SELECT 1")

    with pytest.raises(StorageError, match=r"^The (store is stopping|connection to the store was lost)\.$"):
        await database.write(add_and_lose)
    assert await database.value("SELECT count(*) FROM leases WHERE name = 'lost'") == 0


async def test_transactions_that_hinder_each_other_are_repeated(database: PostgresDatabase) -> None:
    """Two that wait for each other both succeed in the end."""
    await database.write(lambda transaction: transaction.run("DELETE FROM leases"))
    for name in ("a", "b"):
        await database.write(partial(_lease, name=name))

    async def in_order(*names: str) -> None:
        async def lock(transaction: Transaction) -> None:
            for name in names:
                await transaction.lock("SELECT 1 FROM leases WHERE name = ?", name)
                await asyncio.sleep(0.05)

        await database.write(lock)

    await asyncio.gather(in_order("a", "b"), in_order("b", "a"))
    await database.write(lambda transaction: transaction.run("DELETE FROM leases"))


async def _lease(transaction: Transaction, *, name: str) -> int:
    return await transaction.run("INSERT INTO leases (name, owner, lease_until) VALUES (?, '', 0)", name)


async def test_a_cancelled_caller_does_not_stop_a_write(database: PostgresDatabase) -> None:
    """It is done completely, and the connection can be used on."""
    store = SqlStore(database)
    task = asyncio.create_task(store.add_container(container("cancelled")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        while await database.value("SELECT count(*) FROM containers WHERE id = 'cancelled'") != 1:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0.01)
    await database.write(lambda transaction: transaction.run("DELETE FROM containers"))


async def test_cancelled_reads_take_no_further_connections(
    postgres: Postgres, postgres_url: str, database: PostgresDatabase
) -> None:
    """What no caller waits for any more is ended on the server before its connection is used again, or replaced."""
    other = await connect(Settings(postgres_url, 1, prepares=True))
    async with other.transaction():
        await other.execute("LOCK TABLE containers IN ACCESS EXCLUSIVE MODE")
        for _ in range(10):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await database.value("SELECT count(*) FROM containers")
        others = BACKENDS.format(postgres_url.rpartition("/")[2])
        wait_until(lambda: int(postgres.execute(others)) <= 3)  # one that was replaced may be just about to end
        await database.aclose()
        wait_until(lambda: int(postgres.execute(others)) == 1)
    await other.close()


async def test_writes_that_wait_for_a_lock_leave_a_connection_for_reads(
    postgres_url: str, database: PostgresDatabase
) -> None:
    """However many wait for a row that another session has locked, reads and checks are answered, and then writes."""
    await database.write(partial(_lease, name="hot"))
    other = await connect(Settings(postgres_url, 1, prepares=True))
    async with other.transaction():
        await other.execute("UPDATE leases SET owner = 'other' WHERE name = 'hot'")
        change = "UPDATE leases SET lease_until = lease_until + 1 WHERE name = 'hot'"
        writes = [asyncio.create_task(database.write(lambda transaction: transaction.run(change))) for _ in range(9)]
        done, _ = await asyncio.wait(writes, timeout=0.2)
        async with asyncio.timeout(5):  # half of what a write waits for a lock
            assert await database.value("SELECT lease_until FROM leases WHERE name = 'hot'") == 0
            await database.check()
        assert not done
    assert await asyncio.gather(*writes) == [1] * 9
    await other.close()
    await database.write(lambda transaction: transaction.run("DELETE FROM leases"))


async def test_writes_that_fail_after_their_callers_have_left_are_silent(database: PostgresDatabase) -> None:
    """An error that only their callers would have got is not logged with the words of the database; a bug is."""
    reported: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context.get("exception")))
    bug = RuntimeError("a bug")
    for error in (file_not_found("file-1"), None, bug):
        has_begun = asyncio.Event()
        writing = asyncio.create_task(database.write(partial(_fail_with, error=error, begun=has_begun)))
        await has_begun.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        while database._writes:
            await asyncio.wait(database._writes)
    del writing
    gc.collect()
    assert reported == [bug]


async def _fail_with(transaction: Transaction, *, error: Exception | None, begun: asyncio.Event) -> None:
    begun.set()
    await asyncio.sleep(0.01)
    if error is not None:
        raise error
    await transaction.run("SELECT * FROM nowhere")


async def test_what_was_cancelled_does_not_fail_what_comes_next(database: PostgresDatabase) -> None:
    """A connection with a cancelled statement is used again, and the server does not end another one instead."""
    for seconds in (0.0, 0.0005, 0.002, 0.01) * 10:
        reading = asyncio.create_task(database.value("SELECT 1 FROM pg_sleep(0.002)"))
        await asyncio.sleep(seconds)
        reading.cancel()
        assert await database.value("SELECT 2") == 2


async def test_the_clock_is_that_of_the_server(database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Setting the clock of this machine changes nothing for a process that runs, nor for one that starts."""
    real = await database.value("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")
    monkeypatch.setattr(time, "time", lambda: real - 86_400)
    assert abs(database.now() - real) < 5
    await database.check()
    assert abs(database.now() - real) < 5


async def test_the_clock_is_right_after_the_server_hung(database: PostgresDatabase, postgres: Postgres) -> None:
    """A look at the clock that took seconds does not change what was known more exactly."""
    with postgres.paused():
        checking = asyncio.create_task(database.check())
        done, _ = await asyncio.wait([checking], timeout=3)
        assert not done
    await checking
    real = await database.value("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")
    assert abs(database.now() - real) < 1


async def test_a_read_only_server_is_not_ready(postgres: Postgres) -> None:
    """A replica of the database, on which nothing can be written, does not pass the check."""
    url = postgres.fresh()
    await (await open_database(DatabaseSettings(url))).aclose()
    postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = on")
    with pytest.raises(StorageError, match=r"^The store is read-only\.$"):
        await open_database(DatabaseSettings(url))


async def test_waiting_for_a_connection_ends(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that find no free connection in time say so, and work again afterwards."""
    monkeypatch.setattr("berth.adapters.sql.postgres.connections.ANSWER_SECONDS", 0.2)
    async with aclosing(await PostgresDatabase.open(Settings(postgres_url, 1, prepares=True))) as database:
        is_held, go_on = asyncio.Event(), asyncio.Event()

        async def hold(transaction: Transaction) -> Any:
            found = await transaction.value("SELECT 1")
            is_held.set()
            await go_on.wait()
            return found

        busy = asyncio.create_task(database.write(hold))
        await is_held.wait()
        with pytest.raises(StorageError, match="did not answer in time"):
            await database.value("SELECT 1")
        go_on.set()
        assert await busy == 1
        assert await database.value("SELECT 1") == 1
