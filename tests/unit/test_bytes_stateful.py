"""Rows, bytes and quotas under random uploads, copies, deletions, damage, expiry, sweeps and crashes: they agree."""

import asyncio
import sqlite3
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.inventory import SqlInventory
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.caller import Caller
from berth.core.errors import DAMAGED, BerthError, NotFoundError, StorageError
from berth.core.hosted.doctor import Doctor
from berth.core.ports.backend import Content
from berth.v1.container_file_service_pb2 import DeleteContainerFileRequest, RetrieveContainerFileContentRequest
from berth.v1.container_service_pb2 import CreateContainerRequest, DeleteContainerRequest
from berth.v1.file_pb2 import FileExpiresAfter
from berth.v1.file_service_pb2 import DeleteFileRequest, RetrieveFileContentRequest
from support.fakes.records import OLLAMA
from support.fakes.stores import FixedClock
from support.fakes.uploads import GivenFile, GivenUpload
from support.measuring.soak import soak, times
from support.servers.empty_database import put_empty_database
from support.servers.hosted import hosted_both, sweeper

T = TypeVar("T")
CONTENTS = (b"", b"a", b"bb", b"c" * 90_000)
CALLERS = (Caller("ours", "first"), Caller("theirs", "second"))
HOUR = 3600
ROWS = """
    SELECT files.blob, files.sha256, files.bytes, containers.tenant FROM files
    JOIN containers ON containers.seq = files.container_seq WHERE files.deleted_at IS NULL
    UNION ALL SELECT blob, sha256, bytes, tenant FROM tenant_files WHERE deleted_at IS NULL
"""
HELD = "SELECT key, holders FROM blobs"
NOTED = "SELECT key FROM blobs WHERE damaged > 0"
SUMS = "SELECT tenant, bytes FROM tenants WHERE bytes != 0"
CONTAINERS = """
    SELECT containers.bytes, coalesce(sum(files.bytes), 0) FROM containers
    LEFT JOIN files ON files.container_seq = containers.seq AND files.deleted_at IS NULL
    WHERE containers.deleted_at IS NULL GROUP BY containers.seq
"""

callers = st.sampled_from(CALLERS)
contents = st.sampled_from(CONTENTS)
crashes = st.sampled_from([None] * 6 + ["before the bytes", "behind the bytes", "before removing"])
harms = st.sampled_from(["rotten", "cut", "lost"])
picks = st.integers(0, 1000)


def content_of(size: int) -> bytes:
    """Return the only content that has a size."""
    return next(content for content in CONTENTS if len(content) == size)


async def whole(opening: Awaitable[Content]) -> bytes:
    return b"".join(await all_of((await opening).chunks))


async def all_of(items: AsyncIterator[T]) -> list[T]:
    return [item async for item in items]


class Crash(BaseException):
    """The process ends here."""


class CrashingBlobs(FileBlobs):
    """Blobs at which the process may end."""

    crash: str | None = None

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob, or what is asked for instead."""
        if self.crash == "before the bytes":
            raise Crash
        await super().put(key, chunks)
        if self.crash == "behind the bytes":
            raise Crash

    async def delete(self, keys: Iterable[str]) -> None:
        """Delete blobs, or what is asked for instead."""
        if self.crash == "before removing":
            raise Crash
        await super().delete(keys)


class BytesWorld(RuleBasedStateMachine):
    """Two tenants, their containers and files, and what is in the database and the folder."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.clock = FixedClock()
        self.blobs = CrashingBlobs.open((self.folder / "blobs").as_uri())
        self.stack.callback(self.blobs.close)
        put_empty_database(self.folder / "berth.db")
        self.database = self.stack.enter_context(closing(SqliteDatabase.open(f"sqlite:///{self.folder}/berth.db")))
        self.file_store = SqlFiles(self.database, now=self.clock)
        self.store = SqlStore(self.database, now=self.clock)
        self.sweeper = sweeper(
            self.database, self.blobs, clock=self.clock, retention_seconds=60, tombstone_seconds=HOUR, grace_seconds=0
        )
        self.harmed: dict[str, str] = {}
        self.told: list[str] = []
        self.backend, self.backend_of_files = hosted_both(
            self.store, self.file_store, self.blobs, clock=self.clock, report_damage=self.told.append
        )
        self.files: list[str] = []
        self.containers: list[str] = []
        self.copies: list[tuple[str, str]] = []

    def teardown(self) -> None:
        """Let everything go."""
        self.runner.close()
        self.stack.close()

    def pick(self, ids: list[str], index: int) -> str:
        return ids[index % len(ids)] if ids else "none"

    @rule(caller=callers, content=contents, expires=st.booleans(), crash=crashes)
    def upload_file(self, caller: Caller, content: bytes, *, expires: bool, crash: str | None) -> None:
        expiry = FileExpiresAfter(anchor="created_at", seconds=HOUR) if expires else None
        upload = GivenFile(OLLAMA, (content,), expires_after=expiry)
        with self.crashing(crash), self.healing(content):
            self.files.append(self.runner.run(self.backend_of_files.create_file(caller, upload)).id)

    @rule(caller=callers, index=picks, content=contents, crash=crashes)
    def upload_into_container(self, caller: Caller, index: int, content: bytes, crash: str | None) -> None:
        upload = GivenUpload(self.pick(self.containers, index), (content,))
        with self.crashing(crash), self.healing(content):
            made = self.runner.run(self.backend.create_container_file(caller, upload))
            self.copies.append((made.container_id, made.id))

    @rule(caller=callers, indices=st.lists(picks, max_size=4))
    def create_container(self, caller: Caller, indices: list[int]) -> None:
        request = CreateContainerRequest(
            provider=OLLAMA, name="box", file_ids=[self.pick(self.files, index) for index in indices]
        )
        with self.crashing(None):
            self.containers.append(self.runner.run(self.backend.create_container(caller, request)).id)

    @rule(caller=callers, index=picks, file=picks)
    def copy(self, caller: Caller, index: int, file: int) -> None:
        upload = replace(GivenUpload(self.pick(self.containers, index), ()), file_id=self.pick(self.files, file))
        with self.crashing(None):
            made = self.runner.run(self.backend.create_container_file(caller, upload))
            self.copies.append((made.container_id, made.id))

    @rule(index=picks, harm=harms)
    def damage(self, index: int, harm: str) -> None:
        """Turn a bit over in some blob that files have, cut it off, or lose it."""
        good = sorted({row[0] for row in self.query(ROWS) if row[2]} - {*self.harmed})
        if not good:
            return
        path = self.folder / "blobs" / self.pick(good, index)
        content = path.read_bytes()
        if harm == "lost":
            path.unlink()
        else:
            path.write_bytes(content[:-1] if harm == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
        self.harmed[str(path.relative_to(self.folder / "blobs"))] = harm

    @rule(caller=callers, index=picks)
    def read_file(self, caller: Caller, index: int) -> None:
        request = RetrieveFileContentRequest(file_id=self.pick(self.files, index))
        blob = "SELECT blob, sha256 FROM tenant_files WHERE id = ?"
        self.read(self.backend_of_files.retrieve_file_content(caller, request), self.query(blob, request.file_id))

    @rule(caller=callers, index=picks)
    def read_part_of_file(self, caller: Caller, index: int) -> None:
        """Read the first byte of a file: it is what was stored, or known to be damaged."""
        request = RetrieveFileContentRequest(file_id=self.pick(self.files, index), length=1)
        try:
            seen: bytes | str | None = self.runner.run(
                whole(self.backend_of_files.retrieve_file_content(caller, request))
            )
        except NotFoundError:
            return
        except StorageError as error:
            seen = error.code
        ((key, size),) = self.query("SELECT blob, bytes FROM tenant_files WHERE id = ?", request.file_id)
        assert seen == (DAMAGED if key in self.harmed else content_of(size)[:1])

    @rule(caller=callers, index=picks)
    def read_from_container(self, caller: Caller, index: int) -> None:
        container, file = self.copies[index % len(self.copies)] if self.copies else ("none", "none")
        request = RetrieveContainerFileContentRequest(container_id=container, file_id=file)
        blob = self.query("SELECT blob, sha256 FROM files WHERE id = ?", file)
        self.read(self.backend.retrieve_container_file_content(caller, request), blob)

    def read(self, opening: Awaitable[Content], blob: list[tuple[str, str]]) -> None:
        """Read a file to its end: it is what was stored, or damaged, which the rows know from now on, or lost."""
        try:
            seen: str | None = sha256(self.runner.run(whole(opening))).hexdigest()
        except NotFoundError:
            return  # it was not there, or not the caller's
        except StorageError as error:
            seen = error.code
        ((key, digest),) = blob
        assert seen == (DAMAGED if key in self.harmed else digest)
        assert seen == digest or self.harmed[key] == "lost" or (key,) in self.query(NOTED)

    @rule(caller=callers, index=picks, crash=crashes)
    def delete_file(self, caller: Caller, index: int, crash: str | None) -> None:
        request = DeleteFileRequest(file_id=self.pick(self.files, index))
        with self.crashing(crash):
            self.runner.run(self.backend_of_files.delete_file(caller, request))

    @rule(caller=callers, index=picks, crash=crashes)
    def delete_from_container(self, caller: Caller, index: int, crash: str | None) -> None:
        container, file = self.copies[index % len(self.copies)] if self.copies else ("none", "none")
        request = DeleteContainerFileRequest(container_id=container, file_id=file)
        with self.crashing(crash):
            self.runner.run(self.backend.delete_container_file(caller, request))

    @rule(caller=callers, index=picks, crash=crashes)
    def delete_container(self, caller: Caller, index: int, crash: str | None) -> None:
        request = DeleteContainerRequest(container_id=self.pick(self.containers, index))
        with self.crashing(crash):
            self.runner.run(self.backend.delete_container(caller, request))

    @rule(seconds=st.sampled_from([60, HOUR]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule(crash=crashes)
    def sweep(self, crash: str | None) -> None:
        """Sweep, and again behind a crash: then every blob has a row, and the doctor finds only what was harmed."""
        with self.crashing(crash):
            self.runner.run(self.sweeper.sweep())
        self.runner.run(self.sweeper.sweep())
        lost = {blob for blob, harm in self.harmed.items() if harm == "lost"}
        used = {row[0] for row in self.query(ROWS)}
        assert self.stored() == used - lost
        inventory = SqlInventory(self.database)
        doctor = Doctor(inventory, self.blobs, is_deep=True, fixes=False, grace_seconds=0, settle_seconds=0)
        found = self.runner.run(all_of(doctor.findings()))
        assert sorted(str(finding.facts["blob"]) for finding in found) == sorted(used & {*self.harmed})

    @invariant()
    def every_row_has_its_bytes(self) -> None:
        """All but those that were damaged from outside, of which each is told of, at most once unless it is lost."""
        for blob, digest, size, _ in self.query(ROWS):
            if blob in self.harmed:
                continue
            content = (self.folder / "blobs" / blob).read_bytes()
            assert (sha256(content).hexdigest(), len(content)) == (digest, size)
        assert all(self.harmed[blob] == "lost" for blob, times in Counter(self.told).items() if times > 1)
        assert {key for (key,) in self.query(NOTED)} <= {*self.told} <= {*self.harmed}

    @invariant()
    def a_content_has_one_blob(self) -> None:
        rows = self.query(ROWS)
        assert len({row[0] for row in rows}) == len({row[1] for row in rows})

    @invariant()
    def holders_and_sums_are_right(self) -> None:
        holders, sums = dict[str, int](), dict[str, int]()
        for blob, _, size, tenant in self.query(ROWS):
            holders[blob] = holders.get(blob, 0) + 1
            sums[tenant] = sums.get(tenant, 0) + size
        assert dict(self.query(HELD)) == holders
        assert dict(self.query(SUMS)) == {tenant: size for tenant, size in sums.items() if size}
        assert all(told == counted for told, counted in self.query(CONTAINERS))

    @contextmanager
    def healing(self, content: bytes) -> Iterator[None]:
        """Check that an upload which succeeds leaves no file of its content with bytes known to be damaged."""
        noted = {key for (key,) in self.query(NOTED)}
        yield
        digest = sha256(content).hexdigest()
        assert not noted & {row[0] for row in self.query(ROWS) if row[1] == digest}

    def crashing(self, crash: str | None) -> ExitStack:
        """Let the process end at a point, or a refusal come."""
        stack = ExitStack()
        stack.enter_context(suppress(Crash, BerthError))
        self.blobs.crash = crash
        stack.callback(setattr, self.blobs, "crash", None)
        return stack

    def stored(self) -> set[str]:
        root = self.folder / "blobs"
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}

    def query(self, query: str, *values: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "berth.db")) as connection:
            return connection.execute(query, values).fetchall()


EFFORT = settings(max_examples=times(20, 200), stateful_step_count=30, deadline=None)


@soak
@pytest.mark.timeout(3600)
def test_rows_bytes_and_quotas_agree() -> None:
    """Every row has its bytes, every blob a row once it is swept, and sums are what quotas count."""
    run_state_machine_as_test(BytesWorld, settings=EFFORT)
