"""What is special about blobs in a folder: what is on the disk, and what an operator is told."""

import asyncio
import errno
import fcntl
import os
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest

from berth.adapters.blobs.errors import translated
from berth.adapters.blobs.folder import FileBlobs
from berth.core.errors import StorageError
from support.servers.service import eventually

MIB = 1024 * 1024
BATCH = 512 * 1024
"""As much as is written at a time."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "some where" / "bl%obs"


@pytest.fixture
def blobs(folder: Path) -> Iterator[FileBlobs]:
    opened = FileBlobs.open(folder.as_uri())
    yield opened
    opened.close()


def files_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_a_blob_is_the_file_of_its_key(blobs: FileBlobs, folder: Path) -> None:
    """Under its key is one file with the bytes, and nothing else is left."""
    await blobs.put("cntr_1/cfile_1", chunks_of(bytes(3 * MIB)))
    assert files_in(folder) == ["cntr_1/cfile_1"]
    assert (folder / "cntr_1/cfile_1").read_bytes() == bytes(3 * MIB)


def test_only_the_owner_may_enter(folder: Path) -> None:
    """All that is made is closed to other users, also in a folder that is open to them and without a umask."""
    folder.mkdir(mode=0o755, parents=True)
    before = os.umask(0)
    try:
        with closing(FileBlobs.open(folder.as_uri())) as blobs, blobs.held():
            asyncio.run(blobs.put("aa/x", chunks_of(b"bytes")))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")} == {0o600, 0o700}


def test_a_folder_that_is_made_is_closed_to_others(blobs: FileBlobs, folder: Path) -> None:
    """The folder of the store itself is accessible to its owner only."""
    assert blobs
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_failed_put_leaves_no_file(blobs: FileBlobs, folder: Path) -> None:
    """After an error in the middle of a put there is no file, not even a hidden one."""

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(3 * MIB)
        raise ValueError("cut off")

    with pytest.raises(ValueError, match="cut off"):
        await blobs.put("cntr_1/cfile_1", broken())
    assert files_in(folder) == []


@pytest.mark.parametrize("size", [0, 100, 3 * MIB])
async def test_cancelling_at_any_moment_leaves_no_file(blobs: FileBlobs, folder: Path, size: int) -> None:
    """A put that is cancelled leaves no file, wherever it was; one that was done leaves the whole file."""
    for turns in range(40):
        task = asyncio.ensure_future(blobs.put(f"cntr_1/{turns}", chunks_of(bytes(size), bytes(size))))
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        task.cancel()
        await asyncio.wait([task])
        expected = [] if task.cancelled() else [f"cntr_1/{turns}"]
        assert files_in(folder) == expected
        await blobs.delete([f"cntr_1/{turns}"])


@pytest.mark.parametrize("size", [0, 3 * MIB])
async def test_who_is_cancelled_again_and_again_leaves_no_file(blobs: FileBlobs, folder: Path, size: int) -> None:
    """Not even cancelling in every turn keeps a put from clearing up."""
    for turns in range(20):
        task = asyncio.ensure_future(blobs.put(f"cntr_1/{turns}", chunks_of(bytes(size), bytes(size))))
        for _ in range(turns):
            await asyncio.sleep(0.0001)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        expected = [] if task.cancelled() else [f"cntr_1/{turns}"]
        assert files_in(folder) == expected
        await blobs.delete([f"cntr_1/{turns}"])


async def test_a_closed_store_is_a_storage_error(folder: Path) -> None:
    """What comes after the end is told so, and leaves nothing."""
    closed = FileBlobs.open(folder.as_uri())
    closed.close()
    with pytest.raises(StorageError, match=r"^The blob store is closed\.$"):
        await closed.put("cntr_1/a", chunks_of(b"x"))
    assert files_in(folder) == []


async def test_putting_and_deleting_in_one_folder_do_not_meet(blobs: FileBlobs, folder: Path) -> None:
    """Blobs come into a folder and go from it, many at a time, and neither fails for the other."""

    async def come_and_go(name: str) -> None:
        for turn in range(100):
            await blobs.put(f"ab/{name}{turn}", chunks_of(b"x"))
            await blobs.delete([f"ab/{name}{turn}"])

    await asyncio.gather(*map(come_and_go, "abcdefgh"))
    assert files_in(folder) == []


def test_opening_clears_what_a_dead_process_left(folder: Path) -> None:
    """Unfinished files are removed when nobody else uses the folder, and only then."""
    living = FileBlobs.open(folder.as_uri())
    leftover = folder / ".incoming/cntr_1.cfile_1#1"
    leftover.write_bytes(b"half")
    FileBlobs.open(folder.as_uri()).close()
    assert leftover.exists()
    living.close()
    FileBlobs.open(folder.as_uri()).close()
    assert not leftover.exists()


async def test_a_blob_is_as_old_as_its_key(blobs: FileBlobs, folder: Path) -> None:
    """However long a put waits behind its last bytes, its blob is new when it is there."""

    async def waiting() -> AsyncIterator[bytes]:
        yield bytes(BATCH)
        await eventually(lambda: sizes_in(folder) == [BATCH])
        age_what_is_written(folder)

    await blobs.put("ab/1", waiting())
    assert [key async for keys in blobs.older_than(3_600) for key in keys] == []


async def test_what_is_no_blob_is_left_alone(blobs: FileBlobs, folder: Path) -> None:
    """What the file system keeps in its root, and what is no file, is nobody's old blob."""
    for name in ("lost+found", "ab/folder", "ab/link"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "lost+found/1").touch()
    (folder / "ab/link").rmdir()
    (folder / "ab/link").symlink_to("/")
    await blobs.put("ab/1", chunks_of(b"x"))
    assert [key async for keys in blobs.older_than(0) for key in keys] == ["ab/1"]


async def test_what_never_became_a_blob_gets_old_too(blobs: FileBlobs, folder: Path) -> None:
    """What a killed process left is listed in the end, though others live; who still waited for it is told."""

    async def waiting() -> AsyncIterator[bytes]:
        yield bytes(BATCH)
        await eventually(lambda: sizes_in(folder) == [BATCH])
        assert [key async for keys in blobs.older_than(3_600) for key in keys] == []
        age_what_is_written(folder)
        old = [key async for keys in blobs.older_than(3_600) for key in keys]
        assert old == [".incoming/ab.1"]
        await blobs.delete(old)

    with pytest.raises(StorageError):
        await blobs.put("ab/1", waiting())
    assert files_in(folder) == []


def sizes_in(folder: Path) -> list[int]:
    return [(folder / name).stat().st_size for name in files_in(folder)]


def age_what_is_written(folder: Path) -> None:
    """Have the one file that is not a blob yet be of 1970, once all that can be is in it."""
    (staged,) = (folder / ".incoming").iterdir()
    os.utime(staged, (0, 0))


async def test_a_shortened_file_is_a_storage_error(blobs: FileBlobs, folder: Path) -> None:
    """A file that has lost bytes is an error of the store while it is read, not a shorter answer."""
    await blobs.put("cntr_1/a", chunks_of(bytes(MIB)))
    (folder / "cntr_1/a").write_bytes(bytes(10))
    with pytest.raises(StorageError) as caught:
        async for _ in await blobs.get("cntr_1/a", offset=0, length=MIB):
            pass
    assert caught.value.code == "file_damaged"


async def test_a_folder_that_is_in_the_way_is_a_storage_error(blobs: FileBlobs, folder: Path) -> None:
    """What the file system refuses is a StorageError without a path in its message, and leaves nothing."""
    (folder / "cntr_1").write_bytes(b"a file where a folder should be")
    with pytest.raises(StorageError) as caught:
        await blobs.put("cntr_1/a", chunks_of(b"x"))
    assert (caught.value.message, caught.value.code) == ("The blob store failed.", "storage_unavailable")
    assert files_in(folder) == ["cntr_1"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_called_one(number: int) -> None:
    """A full disk, or a full share of one, has a message of its own."""
    with pytest.raises(StorageError, match=r"^The blob store's disk is full\.$"), translated():
        raise OSError(number, "full")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("s3://user:secret@bucket", r"^Cannot open the blob store s3://…: only file:// is supported\.$"),
        ("file://blobs", r"three slashes"),
        ("blobs", r"only file://"),
        ("file:///dev/null/blobs", r"^Cannot open the blob store file:///dev/null/blobs: Not a directory\.$"),
    ],
)
def test_a_url_that_cannot_be_opened_is_refused(url: str, message: str) -> None:
    """The operator is told what is wrong, without any secret in the URL."""
    with pytest.raises(StorageError, match=message):
        FileBlobs.open(url)


async def test_a_held_folder_keeps_complete_blobs(blobs: FileBlobs, folder: Path) -> None:
    """While one process holds the folder, another deletes only incomplete blobs; afterwards it deletes all."""
    await blobs.put("aa/kept", chunks_of(b"bytes"))
    (folder / ".incoming" / "old").touch()
    holder = FileBlobs.open_existing(folder.as_uri())
    with holder.held():
        await asyncio.gather(*(blobs.delete(["aa/kept", ".incoming/old"]) for _ in range(20)))
        assert files_in(folder) == [".hold", "aa/kept"]
    holder.close()
    await asyncio.gather(*(blobs.delete(["aa/kept"]) for _ in range(20)))
    assert files_in(folder) == [".hold"]


def test_a_delete_does_not_prevent_a_hold(blobs: FileBlobs, folder: Path) -> None:
    """A hold waits for a delete of another process, which looks at that moment whether the folder is held."""
    with (folder / ".hold").open("a") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        Timer(0.05, fcntl.flock, (looked_at.fileno(), fcntl.LOCK_UN)).start()
        with blobs.held(), pytest.raises(BlockingIOError):
            fcntl.flock(looked_at, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_folder_is_held_once(blobs: FileBlobs, folder: Path) -> None:
    """A second hold at the same time is refused, and possible after the first."""
    other = FileBlobs.open_existing(folder.as_uri())
    with blobs.held(), pytest.raises(StorageError, match="Another backup"), other.held():
        pass
    with other.held():
        pass
    other.close()
