"""Checksums of blocks: they verify every range, however its bytes arrive."""

from collections.abc import AsyncIterator
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.core.errors import StorageError
from berth.core.hosted.blocks import BLOCK_BYTES, BlockRange, BlockSums, count_matches

SIZE = 2 * BLOCK_BYTES + 100_000
CONTENT = (bytes(range(251)) * (SIZE // 251 + 1))[:SIZE]
EDGES = [0, 1, 77, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, SIZE - 1, SIZE]
positions = st.one_of(st.sampled_from(EDGES), st.integers(0, SIZE))


def sums_of(content: bytes, size: int = SIZE) -> bytes:
    sums = BlockSums()
    for start in range(0, len(content), size):
        sums.update(content[start : start + size])
    return sums.result()


SUMS = sums_of(CONTENT)


async def read(content: bytes, offset: int, length: int, *, size: int = 512 * 1024) -> list[bytes]:
    """Return the pieces of a range of `content`, which arrives in chunks of `size` bytes."""
    blocks = BlockRange(offset=offset, length=length, size=SIZE)

    async def chunks() -> AsyncIterator[bytes]:
        part = content[blocks.offset : blocks.offset + blocks.length]
        for start in range(0, len(part), size):
            yield part[start : start + size]

    return [piece async for piece in blocks.verified(chunks(), SUMS)]


@pytest.mark.parametrize("size", [999_983, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, SIZE])
def test_checksums_do_not_depend_on_chunks(size: int) -> None:
    """Each block of 4 MiB, and the rest, has its CRC-32, however the content was cut into chunks."""
    blocks = [CONTENT[start : start + 4_194_304] for start in range(0, SIZE, 4_194_304)]
    assert sums_of(CONTENT, size) == b"".join(crc32(block).to_bytes(4, "big") for block in blocks)


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 1), (BLOCK_BYTES, 1), (BLOCK_BYTES + 1, 2)])
def test_there_is_a_checksum_for_each_block(size: int, count: int) -> None:
    """Content has as many checksums as it has blocks, and empty content has none."""
    sums = sums_of(bytes(size))
    assert len(sums) == 4 * count
    assert count_matches(sums, size)
    assert not count_matches(sums + b"more", size)


@settings(max_examples=30, deadline=None)
@given(positions, positions, st.sampled_from([300_007, 512 * 1024, BLOCK_BYTES + 1, SIZE]))
async def test_every_range_comes_back(one: int, other: int, size: int) -> None:
    """Any range of undamaged content is what it was, and only the blocks that it touches are read."""
    offset, length = min(one, other), abs(one - other)
    assert b"".join(await read(CONTENT, offset, length, size=size)) == CONTENT[offset : offset + length]
    blocks = BlockRange(offset=offset, length=length, size=SIZE)
    assert blocks.length <= length + 2 * BLOCK_BYTES
    assert blocks.length == 0 or blocks.offset % BLOCK_BYTES == 0


@pytest.mark.parametrize("position", [0, 5, BLOCK_BYTES - 1])
async def test_nothing_of_a_damaged_block_is_sent(position: int) -> None:
    """A range across a damaged block yields the blocks before it, and then an error."""
    damaged = bytearray(CONTENT)
    damaged[BLOCK_BYTES + position] ^= 1
    blocks = BlockRange(offset=10, length=SIZE - 10, size=SIZE)

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(damaged)

    sent = bytearray()

    async def send() -> None:
        async for piece in blocks.verified(chunks(), SUMS):
            sent.extend(piece)

    with pytest.raises(StorageError, match="damaged"):
        await send()
    assert sent == CONTENT[10:BLOCK_BYTES]
    assert b"".join(await read(bytes(damaged), BLOCK_BYTES - 3, 3)) == CONTENT[BLOCK_BYTES - 3 : BLOCK_BYTES]
    with pytest.raises(StorageError, match="damaged"):
        await read(bytes(damaged), BLOCK_BYTES + 100, 1)
