"""How PostgreSQL runs the queries: lists follow an index and sort nothing, and point reads search by id."""

# ruff: noqa: S608 - all queries are put together from constants

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from berth.adapters.sql import container_writes, containers, files, idempotency, keys
from berth.adapters.sql.pages import containers_query, files_query, tenant_files_query
from berth.adapters.sql.postgres.connections import Settings
from berth.adapters.sql.postgres.dialect import translate
from berth.adapters.sql.postgres.migration import prepare
from support.servers.postgres import Postgres

if TYPE_CHECKING:
    from berth.adapters.sql.postgres.connections import Connection

ROWS = 5_000
CONTAINERS = f"""
    INSERT INTO containers (id, tenant, provider, name, created_at, last_active_at, expires_minutes)
    SELECT 'c' || n, 't' || n % 3, (ARRAY['openai', 'ollama', 'groq'])[n % 3 + 1], 'box', 1, 1, 20
    FROM generate_series(1, {ROWS}) AS n
"""
FILES = f"""
    INSERT INTO files
        (id, container_seq, path, bytes, created_at, source, filename, content_type, sha256, blob)
    SELECT 'f' || n, n % 3 + 1, '/' || n, 1, 1, 'user', '', '', '', '' FROM generate_series(1, {ROWS}) AS n
"""
TENANT_FILES = f"""
    INSERT INTO tenant_files
        (id, tenant, provider, filename, purpose, bytes, created_at, status, content_type, sha256, blob, key_name)
    SELECT 'f' || n, 't' || n % 3, (ARRAY['openai', 'ollama', 'groq'])[n % 3 + 1], '', 'batch', 1, 1, '', '', '', '', ''
    FROM generate_series(1, {ROWS}) AS n
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres) -> str:
    """Return the URL of a database with some thousand rows."""
    url = postgres.fresh()
    with ThreadPoolExecutor(1) as pool:  # a loop of its own, because the test has one already
        pool.submit(asyncio.run, prepare(Settings(url, 1, prepares=True), migrates=True)).result()
    for statement in (CONTAINERS, FILES, TENANT_FILES, "ANALYZE"):
        postgres.execute(statement, url.rpartition("/")[2])
    return url


@pytest.fixture(params=["force_generic_plan", "force_custom_plan"])
async def connection(filled: str, request: pytest.FixtureRequest) -> "AsyncIterator[Connection]":
    """Connect as the service does: the server plans a statement with its values at first, and later without them."""
    connected = await asyncpg.connect(filled, server_settings={"plan_cache_mode": request.param})
    yield connected
    await connected.close()


async def steps(connection: "Connection", query: str, values: dict[str, object] | list[object]) -> list[str]:
    """Return the kinds of steps that a query consists of."""
    statement = translate(query)
    arguments = [values[name] for name in statement.names] if isinstance(values, dict) else values
    plan = await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement.text}", *arguments)
    return list(_kinds(json.loads(plan)[0]["Plan"]))


def _kinds(node: Any) -> Any:
    yield node["Node Type"]
    for child in node.get("Plans", ()):
        yield from _kinds(child)


def _values(providers: int | None) -> dict[str, object]:
    named = {f"provider{number}": ["openai", "ollama", "groq"][number % 3] for number in range(providers or 0)}
    return {**named, "tenant": "t1", "name": "box", "purpose": "batch", "now": 0, "seq": ROWS // 2, "limit": 20}


def _assert_sorts_nothing(kinds: list[str]) -> None:
    assert "Index Scan" in kinds
    assert not {"Sort", "Incremental Sort", "Seq Scan", "Bitmap Heap Scan"} & set(kinds)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(("providers", "filters"), [(n, by) for n in (None, 1, 2, 3, 23) for by in (True, False)])
async def test_lists_sort_nothing(
    connection: "Connection", providers: int | None, *, filters: bool, descending: bool
) -> None:
    """Every list of containers and of files follows indexes from its cursor on, and merges them."""
    shape: dict[str, Any] = {"providers": providers, "descending": descending, "sorts_each_arm": True}
    for query in (containers_query(by_name=filters, **shape), tenant_files_query(by_purpose=filters, **shape)):
        _assert_sorts_nothing(await steps(connection, query, _values(providers)))


@pytest.mark.parametrize("descending", [True, False])
async def test_lists_of_files_sort_nothing(connection: "Connection", *, descending: bool) -> None:
    """The list of a container's files follows an index from its cursor on."""
    values: dict[str, object] = {"container_seq": 2, "seq": ROWS // 2, "limit": 20}
    _assert_sorts_nothing(await steps(connection, files_query(descending=descending), values))


@pytest.mark.parametrize(
    "query",
    [
        containers._GET_CONTAINER,
        containers._GET_FILE,
        containers._GET_PROVIDER,
        containers._CONTAINER_SEQ,
        container_writes._CONTAINER,
        files._FOREIGN,
        idempotency._CONTAINER,
        keys._IN_USE,
    ],
)
async def test_point_reads_scan_nothing(connection: "Connection", query: str) -> None:
    """What is found by an id or a mark is found by an index."""
    kinds = await steps(connection, query, [""] * query.count("?"))
    assert "Seq Scan" not in kinds or query is keys._IN_USE  # of an empty table
    assert "Sort" not in kinds
