"""Which transactions of SQLite wait for the disk."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.adapters.sql.database import Transaction
from berth.adapters.sql.exec.store import SqlExecs
from berth.adapters.sql.sqlite.connections import connect_for_reads, connect_for_writes
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.adapters.sql.sqlite.reserve import Reserve
from berth.adapters.sql.sqlite.writer import SqliteWriter
from berth.core.errors import NotFoundError
from berth.v1.exec_pb2 import Exec

NORMAL, FULL = "PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL"


class Traced:
    """A database, and the statements on the connection for writes."""

    def __init__(self, path: Path) -> None:
        SqliteDatabase.open(f"sqlite:///{path}").close()
        connection = connect_for_writes(path)
        self.statements: list[str] = []
        connection.set_trace_callback(self.statements.append)
        self.database = SqliteDatabase(connect_for_reads(path), SqliteWriter(connection, Reserve(path / "none")))

    def commits(self) -> list[str]:
        """Return how each commit so far was synchronized."""
        found, mode = [], FULL
        for statement in self.statements:
            mode = statement if statement in {NORMAL, FULL} else mode
            found += [mode] if statement in {"COMMIT", "ROLLBACK"} else []
        return found


@pytest.fixture
async def traced(tmp_path: Path) -> AsyncIterator[Traced]:
    traced = Traced(tmp_path / "berth.db")
    yield traced
    traced.database.close()


async def count(transaction: Transaction) -> int:
    return int(await transaction.value("SELECT count(*) FROM containers"))


async def fail(_: Transaction) -> None:
    raise ValueError


async def test_a_transaction_waits_for_the_disk_unless_it_need_not(traced: Traced) -> None:
    """One that need not be durable does not wait, and those after it do, also if it fails."""
    await traced.database.write(count)
    await traced.database.write(count, is_durable=False)
    await traced.database.write(count)
    with pytest.raises(ValueError):  # noqa: PT011 - our own
        await traced.database.write(fail, is_durable=False)
    await traced.database.write(count)
    assert traced.commits() == [FULL, NORMAL, FULL, NORMAL, FULL]


async def test_a_commit_that_is_shared_waits_for_the_disk(traced: Traced) -> None:
    """Transactions that come together are committed together, durably if one of them has to be."""
    may_go_on = threading.Event()

    async def wait(_: Transaction) -> None:
        may_go_on.wait(10)

    async def go_on() -> None:
        may_go_on.set()

    others = (traced.database.write(count, is_durable=durable) for durable in (False, True))
    await asyncio.gather(traced.database.write(wait), *others, go_on())  # which begin in this order
    assert traced.commits() == [FULL, FULL]


@pytest.mark.parametrize(
    ("is_awaited", "attempt", "expected"), [(True, None, NORMAL), (True, "a", FULL), (False, None, FULL)]
)
async def test_the_start_of_a_command_is_durable_if_it_is_known(
    traced: Traced, *, is_awaited: bool, attempt: str | None, expected: str
) -> None:
    """A command that has a key, or that its caller knows of before its end, is there after a failure of the power."""
    with pytest.raises(NotFoundError):
        await SqlExecs(traced.database).start(
            "ours", Exec(id="e", container_id="c"), process="p", attempt=attempt, key="k", is_awaited=is_awaited
        )
    assert traced.commits() == [expected]
