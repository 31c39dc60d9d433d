"""Noticing damage and mending it, where races, replicas and older databases make it difficult."""

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.caller import Caller
from berth.core.errors import DAMAGED, NotFoundError, StorageError
from berth.core.hosted.files import HostedFiles
from berth.core.ports.file_store import FileRecord
from berth.v1.file_service_pb2 import DeleteFileRequest, RetrieveFileContentRequest
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider
from support.fakes.records import OLLAMA
from support.fakes.stores import SequentialIds
from support.fakes.uploads import GivenFile
from support.servers.hosted import Kept, hosted_both, keeping, sweeper

OURS = Caller("ours", "first")
CONTENT = (b"x" * 50_000, b"y" * 50_000)


async def uploaded(files: HostedFiles, parts: tuple[bytes, ...] = CONTENT) -> str:
    return (await files.create_file(OURS, GivenFile(OLLAMA, parts))).id


async def content(files: HostedFiles, file_id: str, *, length: int | None = None) -> bytes:
    request = RetrieveFileContentRequest(file_id=file_id, length=length)
    return b"".join([chunk async for chunk in (await files.retrieve_file_content(OURS, request)).chunks])


def spoil(folder: Path) -> None:
    """Turn over a bit of every blob."""
    for path in (folder / "blobs").glob("*/*"):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))


async def test_what_goes_with_its_file_is_not_damaged(kept: Kept) -> None:
    """A file that is deleted after it was looked up is not found, and of its blob nothing is told."""

    class Late(SqlFiles):
        async def get(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> FileRecord:
            found = await super().get(tenant, file_id, provider)
            await kept.files.delete_file(OURS, DeleteFileRequest(file_id=file_id))
            return found

    file = await uploaded(kept.files)
    _, late = hosted_both(
        kept.store, Late(kept.database, now=kept.clock), kept.blobs, clock=kept.clock, report_damage=pytest.fail
    )
    with pytest.raises(NotFoundError, match="deleted meanwhile"):
        await content(late, file)


@pytest.mark.parametrize("length", [0, 3, 100_000, None])
async def test_damage_that_was_noted_is_an_error_at_once(kept: Kept, length: int | None) -> None:
    """A file of which damage was noted is not opened, for a range as little as for the whole, until it is repaired."""
    file = await uploaded(kept.files)
    spoil(kept.folder)
    with pytest.raises(StorageError):
        await content(kept.files, file)
    with pytest.raises(StorageError) as caught:
        await kept.files.retrieve_file_content(OURS, RetrieveFileContentRequest(file_id=file, length=length))
    assert (caught.value.code, caught.value.is_final) == (DAMAGED, True)
    again = await uploaded(kept.files)
    whole = b"".join(CONTENT)
    assert [await content(kept.files, each, length=length) for each in (file, again)] == [whole[:length]] * 2


@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
async def test_a_range_finds_damage(tmp_path: Path, harm: str) -> None:
    """A range of a damaged file is refused before its first byte; damage is told once, missing content each time."""
    with keeping(tmp_path) as kept:
        reported: list[str] = []
        _, files = hosted_both(kept.store, kept.file_store, kept.blobs, clock=kept.clock, report_damage=reported.append)
        file = await uploaded(files)
        (path,) = (kept.folder / "blobs").glob("*/*")
        assert await content(files, file, length=3) == b"xxx"
        if harm == "flip":
            spoil(kept.folder)
        elif harm == "cut":
            os.truncate(path, 99_999)
        else:
            path.unlink()
        for _ in range(2):
            with pytest.raises(StorageError) as caught:
                await content(files, file, length=3)
            assert caught.value.code == DAMAGED
        assert reported == [f"{path.parent.name}/{path.name}"] * (2 if harm == "lose" else 1)


async def test_content_that_is_there_again_can_be_read(kept: Kept) -> None:
    """What was missing for a while, in a bucket that was named wrongly for example, needs no repair."""
    file = await uploaded(kept.files)
    (path,) = (kept.folder / "blobs").glob("*/*")
    path.rename(away := kept.folder / "away")
    for length in (3, None):
        with pytest.raises(StorageError) as caught:
            await content(kept.files, file, length=length)
        assert caught.value.code == DAMAGED
    away.rename(path)
    assert await content(kept.files, file) == b"".join(CONTENT)
    assert await content(kept.files, file, length=3) == b"xxx"


async def test_old_content_has_no_checksums_of_blocks(kept: Kept) -> None:
    """A range of what an older version stored is not verified, until the same content is uploaded again."""
    file = await uploaded(kept.files)
    with closing(sqlite3.connect(kept.folder / "berth.db")) as connection:
        connection.execute("UPDATE blobs SET block_sums = NULL")
        connection.commit()
    (path,) = (kept.folder / "blobs").glob("*/*")
    good = path.read_bytes()
    spoil(kept.folder)
    assert await content(kept.files, file, length=10) == b"x" * 10
    path.write_bytes(good)
    await uploaded(kept.files)
    spoil(kept.folder)
    with pytest.raises(StorageError):
        await content(kept.files, file, length=10)


async def test_a_repair_between_two_look_ups_is_found(kept: Kept) -> None:
    """A read whose file row is older than a repair reads the new blob, not the damaged one."""

    class Late(SqlFiles):
        async def get(self, tenant: str, file_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> FileRecord:
            found = await super().get(tenant, file_id, provider)
            await uploaded(kept.files)
            return found

    file = await uploaded(kept.files)
    spoil(kept.folder)
    with pytest.raises(StorageError):
        await content(kept.files, file)
    _, late = hosted_both(kept.store, Late(kept.database, now=kept.clock), kept.blobs, clock=kept.clock)
    assert await content(late, file, length=10) == b"x" * 10


@pytest.mark.parametrize("kept_bytes", [None, 0, 99_999])
@pytest.mark.parametrize("parts", [CONTENT, (b"x",), (b"",)])
async def test_nobody_relies_on_what_is_lost(kept: Kept, kept_bytes: int | None, parts: tuple[bytes, ...]) -> None:
    """An upload whose content is there already, as the rows say, mends it if it is missing or cut, read or not."""
    first = await uploaded(kept.files, parts)
    (path,) = (kept.folder / "blobs").glob("*/*")
    whole = path.read_bytes()
    path.unlink() if kept_bytes is None else os.truncate(path, min(kept_bytes, len(whole)))
    second = await uploaded(kept.files, parts)
    assert [await content(kept.files, file) for file in (first, second)] == [whole] * 2


async def test_replicas_tell_and_mend_once(kept: Kept) -> None:
    """Two replicas that find the same damage tell of it once, and what both upload then is one good blob."""
    told, ids = list[str](), SequentialIds()
    with closing(SqliteDatabase.open(f"sqlite:///{kept.folder}/berth.db")) as database:
        replicas = [
            hosted_both(
                SqlStore(each, now=kept.clock),
                SqlFiles(each, now=kept.clock),
                kept.blobs,
                clock=kept.clock,
                report_damage=told.append,
                ids=ids,
            )[1]
            for each in (kept.database, database)
        ]
        file = await uploaded(replicas[0])
        spoil(kept.folder)
        reads = await asyncio.gather(*(content(each, file) for each in replicas), return_exceptions=True)
        assert [type(read) for read in reads] == [StorageError] * 2
        assert len(told) == 1
        made = await asyncio.gather(*(uploaded(each) for each in replicas))
        for each in replicas:
            assert [await content(each, one) for one in (file, *made)] == [b"".join(CONTENT)] * 3
    await sweeper(kept.database, kept.blobs, clock=kept.clock).sweep()
    assert kept.left().blobs == 1


async def test_content_that_was_stored_twice(kept: Kept) -> None:
    """Of two blobs of one content, as older versions made them, a damaged one is mended although the other is good."""
    first = await uploaded(kept.files)
    spoil(kept.folder)
    with pytest.raises(StorageError):
        await content(kept.files, first)

    await kept.blobs.put("aa/other", GivenFile(OLLAMA, CONTENT).chunks())
    with closing(sqlite3.connect(kept.folder / "berth.db")) as connection:
        connection.execute(
            "INSERT INTO blobs (key, sha256, bytes, holders) SELECT 'aa/other', sha256, bytes, 1 FROM blobs"
        )
        connection.commit()
    second = await uploaded(kept.files)
    assert [await content(kept.files, one) for one in (first, second)] == [b"".join(CONTENT)] * 2
