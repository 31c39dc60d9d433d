"""Checksums of the blocks of stored content, which verify ranges: the SHA-256 digest covers only the whole.

Content is cut into blocks of 4 MiB; the last one may be shorter. The checksums are CRC-32, because they have to detect
accidents and not forgery: CRC-32 takes half the time of SHA-256, and a range read waits for it.
"""

from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from zlib import crc32

from berth.core.errors import file_damaged

BLOCK_BYTES = 4 * 1024 * 1024
_SUM_BYTES = 4


class BlockSums:
    """Computes the checksums of content that arrives in chunks of any sizes."""

    def __init__(self) -> None:
        self._complete = bytearray()
        self._current = 0
        self._filled = 0

    def update(self, chunk: bytes) -> None:
        """Add the next bytes."""
        for piece in _pieces(chunk, self._filled):
            self._current = crc32(piece, self._current)
            self._filled += len(piece)
            if self._filled == BLOCK_BYTES:
                self._complete += self._current.to_bytes(_SUM_BYTES)
                self._current = self._filled = 0

    def result(self) -> bytes:
        """Return the checksums of all blocks so far, 4 bytes each, in big-endian order."""
        return bytes(self._complete) + (self._current.to_bytes(_SUM_BYTES) if self._filled else b"")


class BlockRange:
    """The blocks that a range of content touches: they begin at `offset` and have `length` bytes together."""

    def __init__(self, *, offset: int, length: int, size: int) -> None:
        self._length = length
        self._skipped = offset % BLOCK_BYTES if length else 0
        self.offset = offset - self._skipped
        blocks = -(-(self._skipped + length) // BLOCK_BYTES)
        self.length = min(blocks * BLOCK_BYTES, size - self.offset)

    async def verified(self, chunks: AsyncIterator[bytes], sums: bytes) -> AsyncIterator[bytes]:
        """Yield the bytes of the range out of `chunks`, which are its blocks, each block after it was verified.

        `sums` are the checksums of the whole content. Holds at most one block. StorageError
        (`file_damaged`) if a checksum differs.
        """
        held: list[bytes | memoryview] = []
        skipped, left, position, current = self._skipped, self._length, self.offset, 0
        async for chunk in chunks:
            for piece in _pieces(chunk, position % BLOCK_BYTES):
                current = crc32(piece, current)
                position += len(piece)
                wanted = piece[skipped : skipped + left]
                skipped, left = max(0, skipped - len(piece)), left - len(wanted)
                if wanted:
                    held.append(wanted)
                if position % BLOCK_BYTES == 0 or position == self.offset + self.length:
                    if current != _sum_at(sums, position - 1):
                        raise file_damaged()
                    current = 0
                    held.reverse()
                    while held:
                        yield bytes(held.pop())


def count_matches(sums: bytes, size: int) -> bool:
    """Return whether there is a checksum for each block of content of `size` bytes."""
    return len(sums) == _SUM_BYTES * -(-size // BLOCK_BYTES)


async def verified(chunks: AsyncIterator[bytes], digest: str) -> AsyncIterator[bytes]:
    """Yield `chunks`, the last one only if all of them together have the SHA-256 digest `digest`."""
    seen, held = sha256(), b""
    async for chunk in chunks:
        seen.update(chunk)
        if held:
            yield held
        held = chunk
    if seen.hexdigest() != digest:
        raise file_damaged()
    if held:
        yield held


def _sum_at(sums: bytes, position: int) -> int:
    """Return the checksum of the block that contains the byte at `position`."""
    start = position // BLOCK_BYTES * _SUM_BYTES
    return int.from_bytes(sums[start : start + _SUM_BYTES])


def _pieces(chunk: bytes, filled: int) -> Iterator[bytes | memoryview]:
    """Cut `chunk` so that no piece continues beyond the end of a block, of which `filled` bytes came before."""
    if len(chunk) <= BLOCK_BYTES - filled:
        if chunk:
            yield chunk
        return
    rest = memoryview(chunk)
    while rest:
        yield rest[: BLOCK_BYTES - filled]
        rest, filled = rest[BLOCK_BYTES - filled :], 0
