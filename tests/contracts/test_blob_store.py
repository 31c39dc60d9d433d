"""The contract of BlobStore, run against every store and the fake."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from berth.core.errors import InvalidRequestError, NotFoundError
from berth.core.ports.blob_store import BlobStore

KEY = "cntr_1/cfile_1"
MIB = 1024 * 1024


async def chunks_of(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(blobs: BlobStore, key: str = KEY, *, offset: int = 0, length: int) -> bytes:
    return b"".join([chunk async for chunk in await blobs.get(key, offset=offset, length=length)])


def pattern(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(251)) * (size // 251 + 1)


@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 0, 4], [1] * 1000, [65536] * 80, [MIB], [3 * MIB + 1], [MIB, 1]])
async def test_bytes_come_back_as_they_went_in(blobs: BlobStore, sizes: list[int]) -> None:
    """However a blob was cut into chunks, its bytes come back in order, and there may be none."""
    chunks = [pattern(size)[:size] for size in sizes]
    await blobs.put(KEY, chunks_of(*chunks))
    assert await content(blobs, length=sum(sizes)) == b"".join(chunks)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 0),
        (0, 1),
        (1, 2),
        (512 * 1024, 512 * 1024),
        (3 * MIB - 1, 2),
        (4 * MIB, 1),
        (4 * MIB + 1, 0),
        (7, 4 * MIB - 7),
    ],
)
async def test_a_part_of_a_blob_can_be_read(blobs: BlobStore, offset: int, length: int) -> None:
    """Any range inside a blob comes back exactly, the empty one at its very end too."""
    whole = pattern(4 * MIB)[: 4 * MIB + 1]
    await blobs.put(KEY, chunks_of(whole))
    assert await content(blobs, offset=offset, length=length) == whole[offset : offset + length]


async def test_a_blob_has_a_size(blobs: BlobStore) -> None:
    """The size of a blob is the number of its bytes, and a blob that is not there has none."""
    await blobs.put(KEY, chunks_of(b"abc", b"de"))
    await blobs.put("cntr_1/empty", chunks_of())
    assert [await blobs.size(key) for key in (KEY, "cntr_1/empty", "cntr_1/nothing")] == [5, 0, None]


@pytest.mark.parametrize("length", [0, 1])
async def test_a_missing_blob_is_not_found_before_the_first_byte(blobs: BlobStore, length: int) -> None:
    """Opening a blob that is not there raises NotFoundError, even for a length of 0."""
    with pytest.raises(NotFoundError):
        await blobs.get("cntr_1/nothing", offset=0, length=length)


async def test_nothing_is_seen_before_a_blob_is_whole(blobs: BlobStore) -> None:
    """While a blob is still being put, there is none under its key."""
    seen: list[type[BaseException] | None] = []

    async def watched() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(MIB)
            try:
                await content(blobs, length=1)
            except NotFoundError:
                seen.append(NotFoundError)

    await blobs.put(KEY, watched())
    assert seen == [NotFoundError] * 3


@pytest.mark.parametrize("chunks_before", [0, 1, 40])
async def test_an_error_out_of_the_chunks_passes_through(blobs: BlobStore, chunks_before: int) -> None:
    """The error that ends the chunks is the one that is raised, and no blob is left."""

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(chunks_before):
            yield bytes(65536)
        raise InvalidRequestError("cut off")

    with pytest.raises(InvalidRequestError, match="cut off"):
        await blobs.put(KEY, broken())
    with pytest.raises(NotFoundError):
        await blobs.get(KEY, offset=0, length=0)


async def test_an_os_error_out_of_the_chunks_is_not_the_stores(blobs: BlobStore) -> None:
    """An OSError of the source passes through as it is, and is not mistaken for the store's own."""

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(65536)
        raise ConnectionResetError("the caller went away")

    with pytest.raises(ConnectionResetError):
        await blobs.put(KEY, broken())


@pytest.mark.parametrize("chunks_before", [0, 1, 40])
async def test_a_cancelled_put_leaves_no_blob(blobs: BlobStore, chunks_before: int) -> None:
    """A put that is cancelled while it waits for its next chunk ends at once and leaves nothing."""
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        for _ in range(chunks_before):
            yield bytes(65536)
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(blobs.put(KEY, stalled()))
    await asyncio.wait_for(waiting.wait(), timeout=10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, timeout=10)
    with pytest.raises(NotFoundError):
        await blobs.get(KEY, offset=0, length=0)


async def test_a_failed_put_can_be_tried_again(blobs: BlobStore) -> None:
    """After a put that failed, the same key can be put."""

    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * MIB)
        raise InvalidRequestError("cut off")

    with pytest.raises(InvalidRequestError):
        await blobs.put(KEY, broken())
    await blobs.put(KEY, chunks_of(b"whole"))
    assert await content(blobs, length=5) == b"whole"


async def test_many_blobs_at_once(blobs: BlobStore) -> None:
    """Blobs that are put at the same time, into the same container, do not mix."""
    await asyncio.gather(*(blobs.put(f"cntr_1/{i}", chunks_of(b"%d" % i, bytes(i))) for i in range(10, 60)))
    for i in range(10, 60):
        assert await content(blobs, f"cntr_1/{i}", length=2 + i) == b"%d" % i + bytes(i)


async def test_reading_can_stop_early(blobs: BlobStore) -> None:
    """A reader that stops after the first chunk, or before it, leaves the blob usable and deletable."""
    await blobs.put(KEY, chunks_of(bytes(2 * MIB)))
    unread = await blobs.get(KEY, offset=0, length=2 * MIB)
    del unread
    async for chunk in await blobs.get(KEY, offset=0, length=2 * MIB):
        assert chunk
        break
    await blobs.delete([KEY])


async def test_deleting(blobs: BlobStore) -> None:
    """Deleted blobs are gone, others stay, and keys that are not there do not matter."""
    for name in ("a", "b", "c"):
        await blobs.put(f"cntr_1/{name}", chunks_of(b"x"))
    await blobs.delete(["cntr_1/none", "cntr_1/a", "cntr_2/none", "cntr_1/c", "cntr_1/a"])
    await blobs.delete(iter(["cntr_1/none"]))
    await blobs.delete([])
    assert await content(blobs, "cntr_1/b", length=1) == b"x"
    for name in ("a", "c"):
        with pytest.raises(NotFoundError):
            await blobs.get(f"cntr_1/{name}", offset=0, length=0)


async def test_old_blobs_are_listed(blobs: BlobStore) -> None:
    """Every blob is old for 0 seconds, none that was just put for an hour, and what is deleted is not there."""
    for key in ("a/1", "b/2", "c/3"):
        await blobs.put(key, chunks_of(b"x"))
    await blobs.delete(["b/2"])
    assert sorted([key async for keys in blobs.older_than(0) for key in keys]) == ["a/1", "c/3"]
    assert not [key async for keys in blobs.older_than(3600) for key in keys]
