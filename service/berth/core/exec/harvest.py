"""Takes what a command changed in its files: content into the BlobStore, and a list of the changes for the rows.

What comes out of a sandbox is hostile. The adapter that reads it opens only regular files, follows no link and limits
sizes and numbers; here the names are checked and the bytes are counted as they are stored.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from mimetypes import guess_type
from typing import Self

from berth.core.background import all_of, in_thread
from berth.core.errors import InvalidRequestError
from berth.core.exec.changes import Change, ChangedFile, DeletedFile, SkippedFile
from berth.core.exec.sandbox import SandboxCommand
from berth.core.exec.store import FileChanges, RemovedFile, WrittenFile
from berth.core.hosted.content import ContentStore
from berth.core.hosted.file_writer import DEFAULT_CONTENT_TYPE, FILE_ID
from berth.core.hosted.patience import patiently
from berth.core.paths import ROOT, container_path
from berth.core.ports.backend import nothing
from berth.core.ports.container_store import ContainerFileRecord
from berth.v1 import exec_pb2

CHUNK_BYTES = 262_144
BATCH = 100
FILES_AT_ONCE, BYTES_AT_ONCE = 8, 1 << 20
"""How many files are stored at the same time; of large ones, only as many as have together so many bytes."""
MAX_SKIPPED = 1000
"""How many skipped files a result names."""


Harvest = Callable[[SandboxCommand], Iterator[Change]]
"""Yields what a command that has ended changed, in any order, within its limits. It runs in threads and may block."""


@dataclass(slots=True)
class Harvested:
    """What a command changed. `blobs` are in the BlobStore, and to be deleted unless rows refer to them."""

    written: list[WrittenFile] = field(default_factory=list)
    removed: dict[str, RemovedFile] = field(default_factory=dict)
    displayed: list[str] = field(default_factory=list)
    skipped: list[exec_pb2.SkippedFile] = field(default_factory=list)

    @property
    def changes(self) -> FileChanges:
        """The changes for the rows."""
        return FileChanges(self.written, list(self.removed.values()), self.displayed)

    @property
    def blobs(self) -> list[str]:
        """The blobs that were stored."""
        return [written.stored.blob for written in self.written]

    def skip(self, path: str, reason: str) -> None:
        """Note a path that is left out."""
        if len(self.skipped) < MAX_SKIPPED:
            name = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            self.skipped.append(exec_pb2.SkippedFile(path=f"{ROOT}/{name}", reason=reason))


class Harvester:
    """Stores what commands changed. `new_id` is as in HostedBackend."""

    def __init__(self, harvest: Harvest, content: ContentStore, new_id: Callable[[str, int], str]) -> None:
        self._harvest = harvest
        self._content = content
        self._new_id = new_id

    async def collect(
        self, command: SandboxCommand, before: Mapping[str, ContainerFileRecord], into: Harvested
    ) -> None:
        """Add what a command changed; `before` has the files that the command saw, by absolute path.

        StorageError if content cannot be stored; then `into` has what was stored until then.
        """
        await self.take(self._harvest(command), before, into)

    async def take(self, changes: Iterator[Change], before: Mapping[str, ContainerFileRecord], into: Harvested) -> None:
        """Do the same with changes, which are found in threads and may block."""
        items = iter(changes)
        try:
            is_over = False
            while not is_over:
                with _Batch() as batch:
                    is_over = await in_thread(batch.fill, items)
                    for item in batch.others:
                        if isinstance(item, SkippedFile):
                            into.skip(item.path, item.reason)
                        else:
                            _remove(f"{ROOT}/{item.path}", before, into)
                    await self._take_files(batch.files, before, into)
        except BaseException:
            close = getattr(items, "close", None)
            if close is not None:
                await in_thread(close)
            raise
        for written in into.written:  # a folder may have been removed and made again
            into.removed.pop(written.path, None)

    async def _take_files(
        self, files: Sequence[ChangedFile], before: Mapping[str, ContainerFileRecord], into: Harvested
    ) -> None:
        """Store files at the same time; note them in their order."""
        written: dict[str, WrittenFile | None] = {}

        async def take(file: ChangedFile) -> None:
            written[file.path] = await self._written(file, before, into)

        try:
            await all_of(*map(take, files))
        finally:
            into.written += [one for file in files if (one := written.get(file.path)) is not None]

    async def _written(
        self, found: ChangedFile, before: Mapping[str, ContainerFileRecord], into: Harvested
    ) -> WrittenFile | None:
        """Store a file, unless it is as before or cannot be stored."""
        try:
            path = container_path(f"{ROOT}/{found.path}", "", unique="")
        except InvalidRequestError as error:
            into.skip(found.path, error.message)
            return None
        known = before.get(path)
        if known is not None and known.file.bytes == found.size and await _digest(found.descriptor) == known.sha256:
            into.removed.pop(path, None)
            return None
        try:
            self._content.check(found.size)  # a file may be large without any content
            put = self._content.put
            stored = await patiently(lambda: put(_chunks(found.descriptor), before_commit=nothing))
        except InvalidRequestError as error:  # it is too large, or has grown
            into.skip(found.path, error.message)
            return None
        kind = guess_type(path)[0] or DEFAULT_CONTENT_TYPE
        return WrittenFile(path, stored, self._new_id(*FILE_ID), kind)


class _Batch:
    """Some of the changes of a command: files, which are closed in the end, and `others`."""

    def __init__(self) -> None:
        self.files: list[ChangedFile] = []
        self.others: list[DeletedFile | SkippedFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            os.close(file.descriptor)

    def fill(self, items: Iterator[Change]) -> bool:
        """Take the next changes, with a few small files or a large one; return whether there are no more."""
        size = 0
        for item in items:
            if isinstance(item, ChangedFile):
                self.files.append(item._replace(descriptor=os.dup(item.descriptor)))
                size += item.size
            else:
                self.others.append(item)
            if len(self.others) == BATCH or len(self.files) == FILES_AT_ONCE or size >= BYTES_AT_ONCE:
                return False
        return True


def _remove(path: str, before: Mapping[str, ContainerFileRecord], into: Harvested) -> None:
    """Note the file at a path as removed."""
    if (record := before.get(path)) is not None:
        into.removed[path] = RemovedFile(record.file.id, record.sha256)


async def _digest(descriptor: int) -> str:
    digest = sha256()
    async for chunk in _chunks(descriptor):
        digest.update(chunk)
    return digest.hexdigest()


async def _chunks(descriptor: int) -> AsyncIterator[bytes]:
    """Yield the bytes of a file from its beginning."""
    offset = 0
    while chunk := await in_thread(os.pread, descriptor, CHUNK_BYTES, offset):
        offset += len(chunk)
        yield chunk
        if len(chunk) < CHUNK_BYTES:
            return
