"""Compares rows with content and sums with rows, for `berth doctor`, and corrects what can be corrected safely.

Other processes may change rows and content at the same time. Content is written before its row and deleted after it,
so content that seems to be missing or damaged is only reported if its row still exists afterwards.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from berth.core.errors import DAMAGED, NotFoundError, StorageError
from berth.core.hosted.blocks import BlockSums
from berth.core.hosted.sweeper import GRACE_SECONDS
from berth.core.ports.blob_store import BlobStore, Checksums, StoredContent
from berth.core.ports.inventory import BlobRow, Inventory, SumKind, WrongSum

SETTLE_SECONDS = 5.0
"""How long new content may be without a row before it is reported: an upload may be about to add the row."""
_BATCH = 500
_MAX_FILES = 10
"""The largest number of files that a finding names."""
_RETRY_SECONDS = 0.5
_UNREADABLE = "unreadable_content"
_SUM_NAMES = {
    SumKind.CONTAINER_BYTES: ("container", "is counted with {} bytes, but its files have {} bytes"),
    SumKind.TENANT_BYTES: ("tenant", "is counted with {} bytes, but its files have {} bytes"),
    SumKind.REFERENCES: ("blob", "is counted as used by {} files, but {} files use it"),
    SumKind.STORED_BYTES: ("tenant", "is counted with {} bytes in its usage, but its files have {} bytes"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong.

    `kind` is a word for programs, `message` a sentence for people, and `facts` names what it is
    about: a blob with files that use it, a container, a tenant or a file. `is_fixed` says that it is
    no longer wrong.
    """

    kind: str
    message: str
    facts: Mapping[str, object]
    is_fixed: bool = False


class _Inspection(NamedTuple):
    """What is wrong with content: nothing if `kind` is None. `block_sums` are those of content that was read."""

    kind: str | None = None
    text: str = ""
    block_sums: Checksums | None = None


_MISSING = _Inspection("missing_content", "is missing; bring it back, or upload the same content again")
_DAMAGED = _Inspection("damaged_content", "does not have its SHA-256")


class Doctor:
    """Examines a store; with `is_deep` it reads all content, and with `fixes` it corrects what it can.

    It deletes no rows, and content only if nothing has referred to it for `grace_seconds`.
    """

    def __init__(
        self,
        inventory: Inventory,
        blobs: BlobStore,
        *,
        is_deep: bool,
        fixes: bool,
        grace_seconds: int = GRACE_SECONDS,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        self._inventory = inventory
        self._blobs = blobs
        self._is_deep = is_deep
        self._fixes = fixes
        self._grace_seconds = grace_seconds
        self._settle_seconds = settle_seconds
        self.blobs = 0
        """The number of blobs that were examined."""
        self.bytes = 0
        """The number of bytes that all rows of these blobs add up to."""

    async def findings(self) -> AsyncIterator[Finding]:
        """Yield what is wrong, and correct it first if that is wanted. StorageError if the database fails."""
        for wrong in await self._inventory.wrong_sums():
            yield await self._wrong_sum(wrong)
        for file_id in await self._inventory.mismatched_files(limit=_BATCH):
            message = f"file {file_id} has another size or SHA-256 than its blob"
            yield Finding("mismatched_file", message, {"file": file_id})
        async for finding in self._examine_blobs():
            yield finding
        async for finding in self._examine_unreferenced():
            yield finding

    async def _wrong_sum(self, wrong: WrongSum) -> Finding:
        subject, text = _SUM_NAMES[wrong.kind]
        if self._fixes:
            await self._inventory.correct_sum(wrong)
        of_key = {"key": wrong.key, "provider": wrong.provider} if wrong.kind is SumKind.STORED_BYTES else {}
        name = ", ".join([f"{subject} {wrong.name}", *(f"{what} {value}" for what, value in of_key.items())])
        return Finding(
            f"wrong_{wrong.kind}",
            f"{name} {text.format(wrong.stored or 0, wrong.actual)}",
            {subject: wrong.name, **of_key, "stored": wrong.stored, "actual": wrong.actual},
            is_fixed=self._fixes,
        )

    async def _examine_blobs(self) -> AsyncIterator[Finding]:
        after = ""
        while rows := await self._inventory.list_blobs(after=after, limit=_BATCH):
            for row in rows:
                self.blobs += 1
                self.bytes += row.stored.bytes
                finding = await self._examine(row)
                if finding is not None:
                    yield finding
            after = rows[-1].stored.blob

    async def _examine(self, row: BlobRow) -> Finding | None:
        """Return what is wrong with a blob, None if nothing is, or if its row was deleted in the meantime."""
        result = await self._inspect(row.stored)
        if result.kind == _UNREADABLE:  # it may be good: reading it may only not be allowed
            return await self._finding(result.kind, row.stored, result.text)
        if result == _MISSING:  # it is not noted: once it is there again, it can be read
            return await self._finding("missing_content", row.stored, result.text, noted=row.is_damaged)
        if result.kind is not None:
            return await self._damage(result.kind, row, result.text)
        if result.block_sums is not None:
            return await self._good(row, result.block_sums)
        return await self._damage("damaged_content", row, "was found damaged") if row.is_damaged else None

    async def _inspect(self, stored: StoredContent) -> _Inspection:
        """Look at a blob without its row."""
        try:
            size = await self._blobs.size(stored.blob)
            if size is None:
                return _MISSING
            if size != stored.bytes:
                return _Inspection("wrong_size", f"has {size} bytes instead of {stored.bytes}")
            return await self._read(stored) if self._is_deep else _Inspection()
        except NotFoundError:
            return _MISSING
        except StorageError as error:
            return _DAMAGED if error.code == DAMAGED else _Inspection(_UNREADABLE, "cannot be read")

    async def _read(self, stored: StoredContent) -> _Inspection:
        """Read a blob and compare it with its SHA-256."""
        seen, sums = sha256(), BlockSums()
        async for chunk in await self._blobs.get(stored.blob, offset=0, length=stored.bytes):
            seen.update(chunk)
            sums.update(chunk)
        return _Inspection(block_sums=sums.result()) if seen.hexdigest() == stored.sha256 else _DAMAGED

    async def _good(self, row: BlobRow, block_sums: Checksums) -> Finding | None:
        """Correct what the row of a blob with the right SHA-256 says; add checksums of blocks where there are none."""
        stored = row.stored
        if stored.block_sums != block_sums and self._fixes:
            await self._inventory.set_block_sums(stored._replace(block_sums=block_sums))
        if row.is_damaged:
            if self._fixes:
                await self._inventory.clear_damage(stored.blob)
            text = "is noted as damaged, but its content is right"
            return await self._finding("undamaged_content", stored, text, is_fixed=self._fixes)
        if stored.block_sums in (None, block_sums):  # older versions stored none
            return None
        text = "has wrong checksums of its blocks, but its content is right"
        return await self._finding("wrong_block_sums", stored, text, is_fixed=self._fixes)

    async def _damage(self, kind: str, row: BlobRow, text: str) -> Finding | None:
        """Return a finding about damaged content, and note the damage if that is wanted."""
        is_noted = row.is_damaged
        if not is_noted and self._fixes:
            is_noted = await self._inventory.note_damage(row.stored.blob) > 0
        note = "upload the same content again to repair it" if is_noted else "the damage is not noted yet"
        return await self._finding(kind, row.stored, f"{text}; {note}", noted=is_noted)

    async def _finding(
        self, kind: str, stored: StoredContent, text: str, *, is_fixed: bool = False, **facts: object
    ) -> Finding | None:
        """Return a finding about a blob with the files that use it, None if its row is gone."""
        if await self._inventory.blob_state(stored.blob) is None:
            return None
        files = await self._inventory.files_of(stored.blob, limit=_MAX_FILES)
        message = f"blob {stored.blob} {text} ({_named(files)})"
        return Finding(kind, message, {"blob": stored.blob, **facts, "files": files}, is_fixed=is_fixed)

    async def _examine_unreferenced(self) -> AsyncIterator[Finding]:
        """Find content without rows. Incomplete blobs are reported when they are old: the others are being uploaded."""
        old: set[str] = set()
        async for keys in self._blobs.older_than(self._grace_seconds):
            blobs = await self._inventory.unreferenced(keys)
            old.update(blobs)
            if self._fixes:
                await self._blobs.delete(blobs)
            for blob in blobs:
                yield Finding("unreferenced_content", f"no file uses blob {blob}", {"blob": blob}, self._fixes)
        for blob in await self._new_unreferenced(old):
            message = f"no file uses blob {blob}; it is kept until it is {self._grace_seconds} seconds old"
            yield Finding("unreferenced_content", message, {"blob": blob})

    async def _new_unreferenced(self, old: set[str]) -> list[str]:
        """Return the new, complete blobs that still have no row after a while."""
        blobs: list[str] = []
        async for keys in self._blobs.older_than(0):
            complete = [key for key in keys if key not in old and not key.startswith(".")]
            blobs += await self._inventory.unreferenced(complete)
        deadline = asyncio.get_running_loop().time() + self._settle_seconds
        while blobs and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(_RETRY_SECONDS)
            blobs = [
                blob for blob in await self._inventory.unreferenced(blobs) if await self._blobs.size(blob) is not None
            ]
        return blobs


def _named(files: Sequence[str]) -> str:
    """Return the files that a finding names, as text."""
    if not files:
        return "no file uses it"
    more = ", …" if len(files) == _MAX_FILES else ""
    return f"used by {', '.join(files)}{more}"
