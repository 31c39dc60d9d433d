"""Replicas on one PostgreSQL and one S3 behind one Envoy: started at once, killed and drained under load."""

import asyncio
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from berth.adapters.sql.postgres import connections
from berth.adapters.sql.postgres.connections import Settings
from berth.adapters.sql.postgres.database import PostgresDatabase
from support.clients.histories import Recorder, Shared
from support.clients.ledger import Client, Ledger
from support.clients.polling import wait_until
from support.measuring.histories import first_wrong, is_linearizable
from support.measuring.soak import IS_LONG, only_long, soak, times
from support.servers.berth import KEY_A
from support.servers.postgres import Postgres
from support.servers.replicas import Replicated, replicated, started
from support.servers.s3 import S3

HEADERS = {"authorization": f"Bearer {KEY_A}"}
CLIENTS = 6
SECONDS, PERIOD_SECONDS = times(10, 60), times(2, 10)
STARTS = 10
RECORDERS, HISTORY_SECONDS = 8, times(4, 120)
MIGRATION = "CREATE TABLE containers"
LOCK_OF_MIGRATIONS = "SELECT pg_advisory_xact_lock(5023194821703215)"


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """Return the URL of a database of this module, of which changes of the schema are logged."""
    return logged(postgres)


@pytest.fixture(scope="module")
def replicas(url: str, s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicated]:
    """Run three replicas."""
    with replicated(tmp_path_factory.mktemp("replicas"), url, s3_server.fresh()) as replicas:
        yield replicas


def logged(postgres: Postgres) -> str:
    """Return the URL of a new database of which changes of the schema are logged."""
    url = postgres.fresh()
    postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET log_statement = 'ddl'")
    return url


async def test_ten_starts_at_once_migrate_once(postgres: Postgres) -> None:
    """Ten processes that open an empty database at the same time can all use it, and one has made the tables."""
    before, settings = postgres.log().count(MIGRATION), Settings(logged(postgres), 1, prepares=True)
    for database in await asyncio.gather(*(PostgresDatabase.open(settings) for _ in range(10))):
        async with aclosing(database):
            assert await database.value("SELECT count(*) FROM containers") == 0
    assert postgres.log().count(MIGRATION) - before == 1


@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
async def test_a_start_waits_for_a_long_migration(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """A start waits for another one that migrates, longer than any call waits for the database, and reports it."""
    settings, reports = Settings(postgres.fresh(), 1, prepares=True), asyncio.Queue[str]()
    other = await connections.connect(settings)
    async with other.transaction():
        await other.execute(LOCK_OF_MIGRATIONS)
        monkeypatch.setitem(connections._SESSION, limit, "50")
        starting = asyncio.create_task(PostgresDatabase.open(settings, report=reports.put_nowait))
        assert await reports.get() == "Another process is migrating it."
        await other.execute("SELECT pg_sleep(0.2)")
        assert not starting.done()
    await other.close()
    async with aclosing(await starting) as database:
        assert await database.value("SELECT count(*) FROM containers") == 0


@soak
@pytest.mark.timeout(300)
@only_long("takes ten processes")
def test_ten_processes_start_at_once(postgres: Postgres, s3: S3, tmp_path: Path) -> None:
    """Ten `berth serve` on an empty database become ready, and one of them has made the tables."""
    before = postgres.log().count(MIGRATION)
    with started(tmp_path, logged(postgres), s3, STARTS):
        assert postgres.log().count(MIGRATION) - before == 1


def test_a_start_waits_for_the_database(replicas: Replicated, postgres: Postgres) -> None:
    """A replica that starts while PostgreSQL is away becomes ready when that is back."""
    replica = replicas.replicas[0]
    replica.end(signal.SIGKILL)
    postgres.stop()
    with ThreadPoolExecutor(1) as pool:
        try:
            starting = pool.submit(replica.start)
            wait_until(lambda: replica.is_running)
        finally:
            postgres.start()
        starting.result()


class Worker:
    """A client that creates, uploads, reads, lists and deletes with OpenAI's SDK and its own retries."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client, self._sdk = client, client.sdk
        self._names = (f"{seed}-{number}" for number in count())
        self._dice = random.Random(seed)  # noqa: S311 - no secrets
        self.home = ""

    def run(self, ended: threading.Event) -> None:
        """Work until `ended`."""
        self.home = self._create()[0] or ""
        while not ended.is_set():
            self._round()

    def _round(self) -> None:
        container, name = self._create()
        self._upload_and_read()
        self._client.read("list", lambda: list(self._sdk.containers.list(limit=5).data))
        if container:
            self._client.read("retrieve", lambda: self._sdk.containers.retrieve(container))
            if self._dice.randrange(2):
                self._client.delete("delete", container, name, lambda: self._delete(container))

    def _create(self) -> tuple[str | None, str]:
        name = next(self._names)
        create, key = self._sdk.containers.create, {"Idempotency-Key": f"create {name}"}
        return self._client.create("create", name, lambda: create(name=name, extra_headers=key).id, once=True), name

    def _upload_and_read(self) -> None:
        name, content = next(self._names), self._dice.randbytes(1000)
        files, key = self._sdk.containers.files, {"Idempotency-Key": f"upload {name}"}
        file = self._client.create(
            "upload", name, lambda: files.create(self.home, file=(name, content), extra_headers=key).id, once=True
        )
        if file:
            read = self._client.read("content", lambda: files.content.retrieve(file, container_id=self.home).read())
            assert read in (content, None)

    def _delete(self, container: str) -> None:
        """Delete a container; that it does not exist means success if an earlier try may have deleted it."""
        try:
            self._sdk.containers.delete(container)
        except openai.NotFoundError:
            if self._client.tries == 1:
                raise


def disturb(replicas: Replicated, until: float) -> int:
    """Kill one replica and drain another every PERIOD_SECONDS, and start both again; return how often."""
    for number in count():
        begun = time.monotonic()
        if begun + PERIOD_SECONDS > until:
            return number
        killed, drained = (replicas.replicas[(number + at) % len(replicas.replicas)] for at in range(2))
        with ThreadPoolExecutor(2) as pool:
            endings = pool.submit(killed.restart, signal.SIGKILL), pool.submit(drained.restart, signal.SIGTERM)
        assert [each.result() for each in endings] == [-signal.SIGKILL, 0]
        wait_until(lambda: time.monotonic() >= begun + PERIOD_SECONDS)  # noqa: B023 - it ends before the next turn
    raise AssertionError


def present_at(rest: str, homes: list[str]) -> dict[str, str]:
    """Return the name of each container and of each file in `homes`, by id."""
    with httpx2.Client(base_url=f"{rest}/v1", headers=HEADERS, timeout=60) as client:
        present = {each["id"]: each["name"] for each in listed(client, "/containers")}
        for home in homes:
            files = listed(client, f"/containers/{home}/files")
            present |= {file["id"]: file["path"].rpartition("/")[2][33:] for file in files}
    return present


def listed(client: httpx2.Client, path: str) -> list[dict[str, Any]]:
    """Return all pages of a list."""
    items: list[dict[str, Any]] = []
    while True:
        after = {"after": items[-1]["id"]} if items else {}
        page = client.get(path, params={"limit": 100} | after).raise_for_status().json()
        items += page["data"]
        if not page["has_more"]:
            return items


@soak
@pytest.mark.timeout(600)
def test_no_call_fails_while_replicas_end(replicas: Replicated) -> None:
    """With the SDK's own retries and idempotency keys no call fails, and nothing is lost or doubled."""
    ledger, ended = Ledger(), threading.Event()
    with ExitStack() as stack, ThreadPoolExecutor(CLIENTS) as pool:
        clients = [
            stack.enter_context(Client(ledger, replicas.rest, KEY_A, keeps_connections=True)) for _ in range(CLIENTS)
        ]
        workers = [Worker(client, seed) for seed, client in enumerate(clients)]
        running = [pool.submit(worker.run, ended) for worker in workers]
        try:
            turns = disturb(replicas, time.monotonic() + SECONDS)
        finally:
            ended.set()
        for each in running:
            each.result()
    total = sum(ledger.calls.values())
    print(f"\n{turns} kills and drains: {total} calls {dict(ledger.calls)}, ends of tries {dict(ledger.ends)}")  # noqa: T201 - figures
    assert turns
    assert ledger.failed == {"": total}
    assert ledger.contradictions(present_at(replicas.rest, [worker.home for worker in workers])) == []


def trouble(replicas: Replicated, postgres: Postgres, url: str, until: float) -> Counter[str]:
    """Kill, drain, cut and stop at random until a time, never all replicas at once; return how often each."""
    dice, done = random.Random(1), Counter[str]()  # noqa: S311 - no secrets
    while time.monotonic() < until:
        replica = dice.choice(replicas.replicas)
        troubles: dict[str, Callable[[], object]] = {
            "killed": lambda: replica.restart(signal.SIGKILL),  # noqa: B023 - it ends before the next turn
            "drained": lambda: replica.restart(signal.SIGTERM),  # noqa: B023
            "connections cut": lambda: postgres.cut(url),
        }
        if IS_LONG:
            troubles |= {
                "PostgreSQL stopped": postgres.restart,
                "PostgreSQL killed": partial(postgres.restart, signal.SIGQUIT),
            }
        name = dice.choice(list(troubles))
        troubles[name]()
        done[name] += 1
    return done


@soak
@pytest.mark.timeout(900)
def test_histories_are_linearizable(replicas: Replicated, postgres: Postgres, url: str) -> None:
    """What clients of all replicas were answered can have happened one after the other, for each container."""
    shared, ended = Shared(), threading.Event()
    recorders = [Recorder(shared, replicas.rest, HEADERS, seed) for seed in range(RECORDERS)]
    with ThreadPoolExecutor(RECORDERS) as pool:
        running = [pool.submit(recorder.run, ended) for recorder in recorders]
        try:
            done = trouble(replicas, postgres, url, time.monotonic() + HISTORY_SECONDS)
        finally:
            ended.set()
        for each in running:
            each.result()
    steps = [step for history in shared.steps.values() for step in history]
    kinds, unknown = Counter(step.kind for step in steps), sum(step.end == inf for step in steps)
    wrong = [container for container, history in shared.steps.items() if not is_linearizable(history)]
    print(  # noqa: T201 - figures
        f"\n{len(steps)} operations {dict(kinds)} on {len(shared.steps)} containers, {unknown} without an outcome; "
        f"{dict(done)}; {len(wrong)} violations"
    )
    assert [first_wrong(shared.steps[container]) for container in wrong] == []
