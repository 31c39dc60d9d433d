"""The doctor on real stores: it finds what is wrong, corrects what it can, and leaves everything else as it is."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.sql.inventory import SqlInventory
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.caller import Caller
from berth.core.errors import StorageError
from berth.core.hosted.doctor import Doctor, Finding
from berth.core.ports.file_store import FileRecord
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import DeleteFileRequest, RetrieveFileContentRequest
from support.fakes.records import OLLAMA, OPENAI, ROOMY
from support.fakes.uploads import GivenFile
from support.servers.hosted import Kept, keeping

OURS, THEIRS = Caller("ours", "first"), Caller("theirs", "second")
HOUR = 3600


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    with keeping(tmp_path) as kept:
        yield kept


def doctor(kept: Kept, *, deep: bool = False, fix: bool = False, settle: float = 0.0) -> Doctor:
    return Doctor(SqlInventory(kept.database), kept.blobs, is_deep=deep, fixes=fix, settle_seconds=settle)


async def found(kept: Kept, *, deep: bool = False, fix: bool = False) -> list[Finding]:
    return [finding async for finding in doctor(kept, deep=deep, fix=fix).findings()]


async def kinds(kept: Kept, *, deep: bool = False, fix: bool = False) -> list[tuple[str, bool]]:
    return [(finding.kind, finding.is_fixed) for finding in await found(kept, deep=deep, fix=fix)]


async def upload(kept: Kept, content: bytes = b"content", caller: Caller = OURS) -> str:
    return (await kept.files.create_file(caller, GivenFile(OLLAMA, (content,)))).id


async def download(kept: Kept, file: str, length: int | None = None) -> bytes:
    request = RetrieveFileContentRequest(file_id=file, length=length)
    return b"".join([chunk async for chunk in (await kept.files.retrieve_file_content(OURS, request)).chunks])


def paths(kept: Kept) -> list[Path]:
    return sorted((kept.folder / "blobs").glob("*/*"))


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def sql(kept: Kept, query: str) -> list[Any]:
    with closing(sqlite3.connect(kept.folder / "berth.db")) as connection:
        rows = connection.execute(query).fetchall()
        connection.commit()
    return rows


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("fix", [False, True])
async def test_a_sound_store_is_well(kept: Kept, *, deep: bool, fix: bool) -> None:
    """Files, copies, deleted files and files at providers are no findings, and nothing changes."""
    first = await upload(kept)
    await upload(kept, b"other", THEIRS)
    await kept.backend.create_container(OURS, CreateContainerRequest(provider=OLLAMA, name="a", file_ids=[first]))
    await upload(kept, b"")
    gone = await upload(kept, b"gone")
    await kept.files.delete_file(OURS, DeleteFileRequest(file_id=gone))
    at_provider = File(id="file-there", object="file", bytes=9, created_at=1, filename="a", purpose="batch")
    await kept.file_store.add(FileRecord(at_provider, "ours", OPENAI, key="main"), quotas=ROOMY)
    before = sql(kept, "SELECT * FROM blobs"), sql(kept, "SELECT * FROM tenants"), paths(kept)
    examiner = doctor(kept, deep=deep, fix=fix)
    assert [finding async for finding in examiner.findings()] == []
    assert (examiner.blobs, examiner.bytes) == (3, 12)
    assert (sql(kept, "SELECT * FROM blobs"), sql(kept, "SELECT * FROM tenants"), paths(kept)) == before


@pytest.mark.parametrize(
    ("harm", "kind", "deep"),
    [("cut", "wrong_size", False), ("flip", "damaged_content", True)],
)
async def test_damage_is_found_and_noted(kept: Kept, harm: str, kind: str, *, deep: bool) -> None:
    """Damaged content is wrong until it is uploaded again; only a fix notes it, and then ranges are refused, too."""
    file = await upload(kept)
    await upload(kept, b"sound")
    (path,) = [path for path in paths(kept) if path.read_bytes() == b"content"]
    if harm == "flip":
        flip(path)
    else:
        os.truncate(path, 6)
    (finding,) = await found(kept, deep=deep)
    blob = f"{path.parent.name}/{path.name}"
    assert (finding.kind, finding.is_fixed) == (kind, False)
    assert finding.facts == {"blob": blob, "noted": False, "files": [file]}
    assert blob in finding.message
    assert file in finding.message
    assert sql(kept, "SELECT damaged FROM blobs") == [(0,), (0,)]
    for _ in range(2):
        (finding,) = await found(kept, deep=deep, fix=True)
        assert (finding.kind, finding.is_fixed, finding.facts["noted"]) == (kind, False, True)
    assert sql(kept, "SELECT damaged FROM blobs ORDER BY damaged") == [(0,), (1,)]
    with pytest.raises(StorageError, match="damaged"):
        await download(kept, file, length=0)
    assert len(await found(kept)) == 1
    await upload(kept)
    assert await download(kept, file) == b"content"
    os.utime(path, (1, 1))
    assert await kinds(kept, fix=True) == [("unreferenced_content", True)]
    assert await kinds(kept, deep=True) == []


@pytest.mark.parametrize("deep", [False, True])
async def test_missing_content_is_found_and_not_noted(kept: Kept, *, deep: bool) -> None:
    """What is missing for a while can be read once it is there again, whatever a fix did meanwhile."""
    file = await upload(kept)
    (path,) = paths(kept)
    path.rename(away := kept.folder / "away")
    (finding,) = await found(kept, deep=deep, fix=True)
    assert (finding.kind, finding.is_fixed) == ("missing_content", False)
    assert finding.facts == {"blob": f"{path.parent.name}/{path.name}", "noted": False, "files": [file]}
    away.rename(path)
    assert await download(kept, file) == b"content"
    path.unlink()
    await upload(kept)
    assert await download(kept, file) == b"content"
    assert await kinds(kept, deep=True) == []


async def test_a_flipped_bit_is_only_found_in_depth(kept: Kept) -> None:
    """Without reading content, damage that leaves the size as it was is not found."""
    await upload(kept)
    flip(paths(kept)[0])
    assert await kinds(kept) == []
    assert await kinds(kept, deep=True) == [("damaged_content", False)]


async def test_a_wrong_note_of_damage_is_taken_back(kept: Kept) -> None:
    """A blob that is noted as damaged and has its SHA-256 can be read again after a fix in depth."""
    file = await upload(kept)
    sql(kept, "UPDATE blobs SET damaged = 3")
    assert await kinds(kept, fix=True) == [("damaged_content", False)]
    assert await kinds(kept, deep=True) == [("undamaged_content", False)]
    assert await kinds(kept, deep=True, fix=True) == [("undamaged_content", True)]
    assert await kinds(kept, deep=True) == []
    assert await download(kept, file) == b"content"


async def test_checksums_of_blocks_are_corrected(kept: Kept) -> None:
    """Wrong checksums of blocks are a finding, missing ones are not; a fix in depth stores the right ones."""
    file = await upload(kept)
    right = sql(kept, "SELECT block_sums FROM blobs")
    sql(kept, "UPDATE blobs SET block_sums = x'01020304'")
    assert await kinds(kept) == []
    assert await kinds(kept, deep=True, fix=True) == [("wrong_block_sums", True)]
    assert sql(kept, "SELECT block_sums FROM blobs") == right
    assert await download(kept, file, length=3) == b"con"
    sql(kept, "UPDATE blobs SET block_sums = NULL")
    assert await kinds(kept, deep=True) == []
    assert sql(kept, "SELECT block_sums FROM blobs") == [(None,)]
    assert await kinds(kept, deep=True, fix=True) == []
    assert sql(kept, "SELECT block_sums FROM blobs") == right


async def test_sums_are_corrected(kept: Kept) -> None:
    """The bytes of containers and tenants and the files of blobs are counted again, and no row is deleted."""
    file = await upload(kept)
    await kept.backend.create_container(OURS, CreateContainerRequest(provider=OLLAMA, name="a", file_ids=[file]))
    await upload(kept, b"other", THEIRS)
    tables = ("blobs", "tenants", "containers", "files", "tenant_files")
    before = [sql(kept, f"SELECT * FROM {table}") for table in tables]  # noqa: S608 - constants
    sql(kept, "UPDATE containers SET bytes = 1")
    sql(kept, "UPDATE tenants SET bytes = 2 WHERE tenant = 'ours'")
    sql(kept, "DELETE FROM tenants WHERE tenant = 'theirs'")
    sql(kept, "INSERT INTO tenants (tenant, bytes) VALUES ('empty', 5)")
    sql(kept, "UPDATE blobs SET holders = 1 WHERE bytes = 7")
    wrong = await found(kept)
    facts = [(each.kind, each.facts["stored"], each.facts["actual"], each.is_fixed) for each in wrong]
    assert sorted(facts, key=str) == [
        ("wrong_container_bytes", 1, 7, False),
        ("wrong_references", 1, 2, False),
        ("wrong_tenant_bytes", 2, 14, False),
        ("wrong_tenant_bytes", 5, 0, False),
        ("wrong_tenant_bytes", None, 5, False),
    ]
    assert all(fixed for _, fixed in await kinds(kept, fix=True))
    assert await kinds(kept) == []
    sql(kept, "DELETE FROM tenants WHERE tenant = 'empty'")
    assert [sql(kept, f"SELECT * FROM {table}") for table in tables] == before  # noqa: S608 - constants


async def test_wrong_sums_of_the_usage_are_corrected(kept: Kept) -> None:
    """What a key has stored outside of containers is counted again; files without a key do not count."""
    await upload(kept)
    await upload(kept, b"other", THEIRS)
    await upload(kept, b"third", Caller("ours", "second"))
    sql(kept, "INSERT INTO stored_bytes VALUES ('empty', 'third', 'ollama', 0, 7)")
    before = sql(kept, "SELECT tenant, key_name, provider, bytes FROM stored_bytes")
    sql(kept, "UPDATE stored_bytes SET bytes = 8 WHERE key_name = 'first'")
    sql(kept, "UPDATE stored_bytes SET bytes = -9 WHERE tenant = 'empty'")
    sql(kept, "DELETE FROM stored_bytes WHERE tenant = 'theirs'")
    wrong = await found(kept)
    assert {each.kind for each in wrong} == {"wrong_stored_bytes"}
    assert sorted(tuple(each.facts.values()) for each in wrong) == [
        ("empty", "third", "ollama", -9, 0),
        ("ours", "first", "ollama", 8, 7),
        ("theirs", "second", "ollama", None, 5),
    ]
    text = "tenant ours, key first, provider ollama is counted with 8 bytes in its usage, but its files have 7 bytes"
    assert text in [each.message for each in wrong]
    assert await kinds(kept, fix=True) == [("wrong_stored_bytes", True)] * 3
    assert await kinds(kept) == []
    assert sql(kept, "SELECT tenant, key_name, provider, bytes FROM stored_bytes") == before
    sql(kept, "UPDATE tenant_files SET created_by = NULL WHERE tenant = 'theirs'")
    assert await kinds(kept, fix=True) == [("wrong_stored_bytes", True)]


async def test_a_blob_without_a_row_gets_it_back(kept: Kept) -> None:
    """Content that files use is never removed, although the row that counts them is lost; a fix adds the row."""
    file = await upload(kept)
    os.utime(paths(kept)[0], (1, 1))
    before = sql(kept, "SELECT key, sha256, bytes, holders, damaged FROM blobs")
    sql(kept, "DELETE FROM blobs")
    assert await kinds(kept) == [("wrong_references", False)]
    assert await kinds(kept, fix=True) == [("wrong_references", True)]
    assert sql(kept, "SELECT key, sha256, bytes, holders, damaged FROM blobs") == before
    assert await kinds(kept, deep=True) == []
    assert await download(kept, file) == b"content"


async def test_files_that_differ_from_their_blobs_are_found(kept: Kept) -> None:
    """A file with another digest than its blob is found, and not changed."""
    file = await upload(kept)
    sql(kept, "UPDATE tenant_files SET sha256 = 'other'")
    (finding,) = await found(kept, fix=True)
    assert (finding.kind, finding.facts, finding.is_fixed) == ("mismatched_file", {"file": file}, False)


async def test_unreferenced_content_is_removed_when_it_is_old(kept: Kept) -> None:
    """A fix removes content without rows, incomplete uploads too, only after an hour; a running upload is well."""
    await upload(kept)
    (used,) = paths(kept)
    os.utime(used, (1, 1))
    complete = used.parent / "stray"
    incomplete = kept.folder / "blobs" / ".incoming" / "ab.stray"
    for path in (complete, incomplete):
        path.write_bytes(b"stray")
    for fix in (False, True):
        (finding,) = await found(kept, fix=fix)
        assert (finding.kind, finding.is_fixed) == ("unreferenced_content", False)
        assert finding.facts == {"blob": f"{used.parent.name}/stray"}
        assert "until it is 3600 seconds old" in finding.message
    now = complete.stat().st_mtime
    for path in (complete, incomplete):
        os.utime(path, (now - HOUR + 60, now - HOUR + 60))
    assert await kinds(kept, fix=True) == [("unreferenced_content", False)]
    for path in (complete, incomplete):
        os.utime(path, (now - HOUR - 1, now - HOUR - 1))
    assert await kinds(kept) == [("unreferenced_content", False)] * 2
    assert complete.exists()
    assert await kinds(kept, fix=True) == [("unreferenced_content", True)] * 2
    assert paths(kept) == [used]
    assert not incomplete.exists()
    assert await kinds(kept) == []


async def test_an_upload_in_progress_is_well(kept: Kept) -> None:
    """Content of which the row follows a moment later is no finding."""

    class Slow(SqlInventory):
        """An Inventory that sees the row of a stray blob only when it is asked again."""

        asked = 0

        async def unreferenced(self, blobs: Any) -> Any:
            without = await super().unreferenced(blobs)
            self.asked += any(blob == "ab/new" for blob in without)
            return without if self.asked < 2 else []

    folder = kept.folder / "blobs" / "ab"
    folder.mkdir()
    (folder / "new").write_bytes(b"new")
    slow = Slow(kept.database)
    examiner = Doctor(slow, kept.blobs, is_deep=False, fixes=False, settle_seconds=60)
    assert [finding async for finding in examiner.findings()] == []
    assert slow.asked == 2


async def test_what_is_deleted_in_the_meantime_is_no_finding(kept: Kept) -> None:
    """A blob that goes with its last file while the doctor looks at it is well."""
    file = await upload(kept)

    class Deleting(FileBlobs):
        async def size(self, key: str) -> int | None:
            await kept.files.delete_file(OURS, DeleteFileRequest(file_id=file))
            return await super().size(key)

    with closing(Deleting.open_existing((kept.folder / "blobs").as_uri())) as blobs:
        examiner = Doctor(SqlInventory(kept.database), blobs, is_deep=True, fixes=True, settle_seconds=0)
        assert [finding async for finding in examiner.findings()] == []
        assert examiner.blobs == 1


async def test_unreadable_content_is_not_noted_as_damaged(kept: Kept) -> None:
    """Content that cannot be read is a finding, but not damage: it may be good."""
    await upload(kept)
    (path,) = paths(kept)
    path.unlink()
    path.mkdir()
    sql(kept, f"UPDATE blobs SET bytes = {path.stat().st_size}")  # noqa: S608 - a number
    sql(kept, f"UPDATE tenant_files SET bytes = {path.stat().st_size}")  # noqa: S608 - a number
    sql(kept, f"UPDATE tenants SET bytes = {path.stat().st_size}")  # noqa: S608 - a number
    sql(kept, f"UPDATE stored_bytes SET bytes = {path.stat().st_size}")  # noqa: S608 - a number
    assert await kinds(kept, deep=True, fix=True) == [("unreadable_content", False)]
    assert sql(kept, "SELECT damaged FROM blobs") == [(0,)]


async def test_a_finding_names_some_files(kept: Kept) -> None:
    """A finding about a blob of many files names ten of them."""
    files = [await upload(kept) for _ in range(12)]
    paths(kept)[0].unlink()
    (finding,) = await found(kept)
    assert finding.facts["files"] == files[:10]
    assert finding.message.endswith(f"{files[9]}, …)")


async def test_a_failing_database_is_an_error(kept: Kept) -> None:
    """An error of the database is not taken for unreadable content."""
    await upload(kept)
    sql(kept, "DROP TABLE tenant_files")
    with pytest.raises(StorageError):
        await found(kept)


def test_stores_are_opened_as_they_are(tmp_path: Path) -> None:
    """Neither a database nor a folder is created or migrated, and a folder that no Berth made is refused."""
    url, folder = f"sqlite:///{tmp_path}/berth.db", tmp_path / "blobs"
    with pytest.raises(StorageError, match="no such file"):
        SqliteDatabase.open_existing(url)
    with pytest.raises(StorageError, match="not a folder with blobs"):
        FileBlobs.open_existing(folder.as_uri())
    folder.mkdir()
    with pytest.raises(StorageError, match="not a folder with blobs"):
        FileBlobs.open_existing(folder.as_uri())
    assert [path.name for path in tmp_path.iterdir()] == ["blobs"]
    SqliteDatabase.open(url).close()
    SqliteDatabase.open_existing(url).close()
    with closing(sqlite3.connect(tmp_path / "berth.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0007'")
        connection.commit()
    with pytest.raises(StorageError, match="another version"):
        SqliteDatabase.open_existing(url)
    FileBlobs.open(folder.as_uri()).close()
    incoming = folder / ".incoming" / "ab.left"
    incoming.write_bytes(b"left")
    FileBlobs.open_existing(folder.as_uri()).close()
    assert incoming.exists()
