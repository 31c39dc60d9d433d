"""The doctor's corrections on PostgreSQL, where other transactions change the same sums at the same time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import pytest

from berth.adapters.sql.database import Transaction
from berth.adapters.sql.inventory import SqlInventory
from berth.adapters.sql.postgres.connections import Settings
from berth.adapters.sql.postgres.database import PostgresDatabase
from berth.core.ports.inventory import SumKind, WrongSum
from support.clients.polling import wait_until
from support.servers.postgres import Postgres

CONTAINER = """
    INSERT INTO containers (id, tenant, provider, name, created_at, last_active_at, expires_minutes, status, bytes)
    VALUES ('box', 'ours', 'ollama', 'box', 1, 1, 20, 'running', 0)
"""
FILE = """
    INSERT INTO files (container_seq, id, path, bytes, created_at, source, filename, content_type, sha256, blob)
    SELECT seq, 'cfile', '/mnt/data/a', 5, 1, 'user', 'a', '', 'sum', 'blob' FROM containers
"""
TENANT_FILE = """
    INSERT INTO tenant_files
    (id, tenant, provider, filename, purpose, bytes, created_at, status, content_type, sha256, blob, key_name,
        created_by)
    VALUES ('file', 'ours', 'ollama', 'a', 'batch', 5, 1, 'processed', '', 'sum', 'blob', '', 'first')
"""
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
SUMS = {
    SumKind.CONTAINER_BYTES: ("UPDATE containers SET bytes = bytes + 5", FILE, "SELECT bytes FROM containers"),
    SumKind.TENANT_BYTES: ("UPDATE tenants SET bytes = bytes + 5", TENANT_FILE, "SELECT bytes FROM tenants"),
    SumKind.STORED_BYTES: ("UPDATE stored_bytes SET bytes = 5", TENANT_FILE, "SELECT bytes FROM stored_bytes"),
    SumKind.REFERENCES: ("UPDATE blobs SET holders = holders + 1", TENANT_FILE, "SELECT holders * 5 FROM blobs"),
}
ROWS = (
    CONTAINER,
    "INSERT INTO tenants (tenant, bytes) VALUES ('ours', 0)",
    "INSERT INTO stored_bytes VALUES ('ours', 'first', 'ollama', 0, 1)",
    "INSERT INTO blobs (key, sha256, bytes, holders) VALUES ('blob', 'sum', 5, 0)",
)


async def _add_rows(transaction: Transaction) -> None:
    for row in ROWS:
        await transaction.run(row)


@pytest.fixture
async def database(postgres: Postgres) -> AsyncIterator[PostgresDatabase]:
    async with aclosing(await PostgresDatabase.open(Settings(postgres.fresh(), 4, prepares=True))) as opened:
        await opened.write(_add_rows)
        yield opened


@pytest.mark.parametrize("kind", SumKind)
async def test_a_correction_waits_for_an_upload_that_ends(
    postgres: Postgres, database: PostgresDatabase, kind: SumKind
) -> None:
    """A sum that an upload has changed and not committed yet is what the files add up to afterwards."""
    change, add_file, query = SUMS[kind]
    has_changed, may_end = asyncio.Event(), asyncio.Event()

    async def upload(transaction: Transaction) -> None:
        await transaction.run(change)
        await transaction.run(add_file)
        has_changed.set()
        await may_end.wait()

    uploading = asyncio.create_task(database.write(upload))
    async with asyncio.timeout(10):
        await has_changed.wait()
    name = {SumKind.CONTAINER_BYTES: "box", SumKind.REFERENCES: "blob"}.get(kind, "ours")
    wrong = WrongSum(kind, name, 1, 0, key="first", provider="ollama")
    correcting = asyncio.create_task(SqlInventory(database).correct_sum(wrong))
    await asyncio.to_thread(wait_until, lambda: int(postgres.execute(WAITS)) == 1)
    may_end.set()
    await asyncio.gather(uploading, correcting)
    assert await database.value(query) == 5


@pytest.mark.parametrize("has_rows", [True, False])
async def test_all_wrong_sums_are_found_and_corrected(database: PostgresDatabase, *, has_rows: bool) -> None:
    """The queries mean the same as in SQLite, also where the row of a sum is missing."""
    statements = [TENANT_FILE, FILE]
    if not has_rows:
        statements += [f"DELETE FROM {table}" for table in ("tenants", "stored_bytes", "blobs")]  # noqa: S608 - constants
    for statement in statements:
        await database.write(partial(_run, statement=statement))
    inventory, stored = SqlInventory(database), 0 if has_rows else None
    wrong = await inventory.wrong_sums()
    assert sorted(wrong) == [
        WrongSum(SumKind.CONTAINER_BYTES, "box", 0, 5),
        WrongSum(SumKind.REFERENCES, "blob", stored, 2),
        WrongSum(SumKind.STORED_BYTES, "ours", stored, 5, "first", "ollama"),
        WrongSum(SumKind.TENANT_BYTES, "ours", stored, 10),
    ]
    for each in wrong:
        await inventory.correct_sum(each)
    assert await inventory.wrong_sums() == []


async def _run(transaction: Transaction, *, statement: str) -> None:
    await transaction.run(statement)
