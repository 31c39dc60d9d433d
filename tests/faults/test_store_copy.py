"""`berth store copy` that is killed and run again, and content that cannot be copied."""

import asyncio
import hashlib
import os
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from berth.adapters.sql.sqlite.database import SqliteDatabase
from support.clients.polling import wait_until
from support.measuring.memory import memory_mebibytes
from support.measuring.soak import only_long, soak
from support.servers.berth import environment
from support.servers.postgres import Postgres
from support.servers.process import refused_berth
from support.servers.s3 import S3
from support.servers.starting import command

CONTAINERS, BLOBS, GIVEN_OUT = 15_000, 30, 16_000
BOUND_MEBIBYTES = 64
_INSERT_CONTAINER = """
    INSERT INTO containers (seq, id, tenant, provider, name, created_at, last_active_at, expires_minutes)
    VALUES (?, ?, 'a', 'ollama', 'box', 1, 1, 20)
"""
_INSERT_FILE = """
    INSERT INTO tenant_files
    (id, tenant, provider, filename, purpose, bytes, created_at, status, content_type, sha256, blob, key_name)
    VALUES (?, 'a', 'ollama', 'f', 'batch', ?, 1, 'processed', 'text/plain', ?, ?, '')
"""


class Copy:
    """A configuration with files, one with servers, and the copy from the first to the second."""

    def __init__(self, folder: Path, postgres: Postgres, s3: S3) -> None:
        self.data, self.s3 = folder / "data", s3
        self._postgres, url = postgres, postgres.fresh()
        self._name = urlsplit(url).path[1:]
        self.files = self._written(folder / "files.yaml", data_dir=str(self.data))
        servers = {"data_dir": str(folder / "servers"), "store": {"url": url}, **s3.settings}
        self.servers = self._written(folder / "servers.yaml", **servers)
        self.command = ("store", "copy", "--from", self.files, "--to", self.servers)
        self.variables = {"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret}

    @staticmethod
    def _written(file: Path, **settings: object) -> str:
        file.write_text(yaml.safe_dump(settings))
        return str(file)

    def fill(self, *, containers: int, blobs: int, sizes: tuple[int, ...]) -> list[Path]:
        """Create a database and content without a Berth; return the paths of the content."""
        self.data.mkdir(mode=0o700)
        asyncio.run(SqliteDatabase.open(f"sqlite:///{self.data}/berth.db").aclose())
        (self.data / "blobs" / ".incoming").mkdir(parents=True)
        with closing(sqlite3.connect(self.data / "berth.db")) as rows, rows:
            rows.executemany(_INSERT_CONTAINER, ((number, f"cntr_{number}") for number in range(1, containers + 1)))
            rows.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'containers'", (GIVEN_OUT,))
            return [self._add(rows, number, sizes[number % len(sizes)]) for number in range(blobs)]

    def _add(self, rows: sqlite3.Connection, number: int, size: int) -> Path:
        content = os.urandom(size)
        digest = hashlib.sha256(content).hexdigest()
        path = self.data / "blobs" / digest[:2] / digest[:40]
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        key = f"{path.parent.name}/{path.name}"
        rows.execute("INSERT INTO blobs (key, sha256, bytes, holders) VALUES (?, ?, ?, 1)", (key, digest, size))
        rows.execute(_INSERT_FILE, (f"file-{number}", size, digest, key))
        return path

    def run(self, *arguments: str) -> tuple[int, str, str]:
        return refused_berth(*(arguments or self.command), environ=self.variables)

    def start(self) -> "subprocess.Popen[bytes]":
        variables = {**environment(), **self.variables}
        return subprocess.Popen(command(*self.command), env=variables, stdout=subprocess.DEVNULL)

    def killed_once(self, claim: Callable[[], object]) -> None:
        """Run it, and kill it as soon as something is so."""
        with self.start() as process:
            try:
                wait_until(lambda: process.poll() is not None or bool(claim()))
                assert process.poll() is None, "it has ended before"
            finally:
                process.kill()

    def rows(self, query: str) -> int:
        """Return a number from the database on the server, 0 before there are tables."""
        if self._postgres.execute("SELECT to_regclass('unfinished_copy') IS NOT NULL", self._name) != "t\n":
            return 0
        return int(self._postgres.execute(query, self._name))

    def value(self, query: str) -> str:
        return self._postgres.execute(query, self._name).strip()


@pytest.fixture
def copy(tmp_path: Path, postgres: Postgres, s3: S3) -> Copy:
    return Copy(tmp_path, postgres, s3)


def test_a_killed_copy_continues(copy: Copy) -> None:
    """A copy that is killed among rows and among content continues; no Berth uses what it has left until then."""
    copy.fill(containers=CONTAINERS, blobs=BLOBS, sizes=(100_000,))
    copy.killed_once(lambda: copy.rows("SELECT count(*) FROM containers"))
    partly = copy.rows("SELECT count(*) FROM containers")
    assert 0 < partly < CONTAINERS
    status, _, errors = copy.run("serve", "--config", copy.servers, "--grpc-port", "0")
    assert (status, "was not finished. Run the command again" in errors) == (2, True), errors
    copy.killed_once(copy.s3.objects)
    assert 0 < len(copy.s3.objects()) < BLOBS
    assert copy.rows("SELECT count(*) FROM containers") == CONTAINERS
    with closing(sqlite3.connect(copy.data / "berth.db")) as rows, rows:  # what was copied before is not believed
        rows.execute("UPDATE containers SET name = 'changed' WHERE seq = 7")
        rows.execute("DELETE FROM containers WHERE seq = 8")
    assert copy.run()[0] == 0
    assert copy.value("SELECT name, count(*) FROM containers WHERE seq IN (7, 8) GROUP BY name") == "changed|1"
    assert copy.value("SELECT last_value FROM containers_seq_seq") == str(GIVEN_OUT)
    assert copy.value("SELECT to_regclass('unfinished_copy')") == ""


def test_damaged_content_is_named(copy: Copy) -> None:
    """Content that is missing or damaged is named, and the copy stays unfinished unless that is accepted."""
    flipped, lost, good = copy.fill(containers=1, blobs=3, sizes=(1000,))
    flipped.write_bytes(b"!" * 1000)
    lost.unlink()
    for options, advice in (((), "is not finished"), (("--skip-damaged",), "is finished")):
        status, output, errors = copy.run(*copy.command, *options)
        named = {f"blob {path.parent.name}/{path.name}" for path in (flipped, lost)}
        assert {line.rpartition(" is missing")[0] or line.partition(" does")[0] for line in output.splitlines()} > named
        assert (status, f"the copy {advice}" in errors) == (1, True), errors
        assert copy.s3.objects() == [f"{good.parent.name}/{good.name}"]


@soak
@pytest.mark.timeout(600)
@only_long("only its long form says something")
def test_memory_does_not_grow_with_the_installation(
    tmp_path: Path, postgres: Postgres, s3_server: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    """100 000 rows and 200 MiB of content take at most 64 MiB more memory than nothing."""
    peaks = []
    for name, containers, blobs in (("small", 1, 1), ("large", 100_000, 8)):
        (tmp_path / name).mkdir()
        copy = Copy(tmp_path / name, postgres, s3_server.fresh())
        copy.fill(containers=containers, blobs=blobs, sizes=(25 * 1024 * 1024 if blobs > 1 else 1,))
        peaks.append(peak_of(copy))
    with capsys.disabled():
        print(f"\nmemory of a copy: {peaks[0]:.0f} MiB, with 100 000 rows and 200 MiB {peaks[1]:.0f} MiB")  # noqa: T201
    assert peaks[1] - peaks[0] <= BOUND_MEBIBYTES


def peak_of(copy: Copy) -> float:
    """Return the most memory that a copy has had."""
    peak = 0.0
    with copy.start() as process:
        while process.poll() is None:
            with suppress(OSError):  # it has ended
                peak = max(peak, memory_mebibytes([process.pid], "VmHWM"))
            time.sleep(0.02)  # between two looks
    assert process.returncode == 0
    return peak
