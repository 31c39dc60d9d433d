"""Workspace: the folder of one command, with copies of the files of its container.

Files are copied and never linked: a link would let a command change content that other containers share.
"""

import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from berth.core.background import all_of, in_thread
from berth.core.errors import DAMAGED, NotFoundError, StorageError
from berth.core.exec.harvest import Harvested
from berth.core.hosted.content import ContentStore
from berth.core.hosted.patience import patiently
from berth.core.paths import ROOT
from berth.core.ports.container_store import ContainerFileRecord, ContainerStore
from berth.core.ports.pages import Pagination
from berth.core.trees import remove_tree
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED

IN_THE_WAY = "the path of another file is in the way"
TOO_DEEP = "too many folders inside one another"
MAX_FOLDERS = 64
"""How many folders a file of a command may be in: a tree beyond that counts as more than the limit of the disk."""
COPIED_AT_ONCE = 8
"""Of how many files of a container the content is read at a time: it may be in a bucket."""
_PAGE = 500
_WHOLE = RetrieveContainerFileContentRequest()
_FILE_MODE, _FOLDER_MODE = 0o644, 0o755


class Workspace(NamedTuple):
    """The folder of files that a command sees, and the one in which its changes are afterwards."""

    files: Path
    changes: Path


@asynccontextmanager
async def opened_workspace(folder: Path) -> AsyncIterator[Workspace]:
    """Make the folder of a command, and remove it with all that is in it. StorageError if that is not possible."""
    try:
        yield await make_workspace(folder)
    finally:
        await in_thread(remove_tree, folder)


async def make_workspace(folder: Path) -> Workspace:
    """Make a folder and those in it. StorageError if that is not possible."""
    workspace = Workspace(folder / "files", folder / "changes")
    try:
        await in_thread(_make_all, (folder, *workspace))
    except OSError as error:
        raise StorageError("The folder for a command cannot be made.") from error
    return workspace


class Layout:
    """Copies the files of containers into folders."""

    def __init__(self, store: ContainerStore, content: ContentStore) -> None:
        self._store = store
        self._content = content

    async def lay_out(
        self,
        tenant: str,
        container_id: str,
        folder: Path,
        skipped: Harvested,
        *,
        held: Mapping[str, str] = MappingProxyType({}),
    ) -> dict[str, ContainerFileRecord]:
        """Copy all files of a container but those that are `held`, by path and SHA-256, with the same content.

        Return those that were copied or are held, by path, and note the others as skipped. StorageError if one cannot
        be read or written.
        """
        there: dict[str, ContainerFileRecord] = {}
        folders: set[str] = set()
        reasons: dict[str, str | None] = {}
        # In the order of their paths, so that it does not depend on their age which one of two is in the way.
        for record in sorted(await self._all(tenant, container_id), key=lambda record: record.file.path):
            path = record.file.path
            found = new_folders(path, folders)
            if not there.keys().isdisjoint(found):
                reasons[path] = IN_THE_WAY
            elif path.removeprefix(f"{ROOT}/").count("/") > MAX_FOLDERS:
                reasons[path] = TOO_DEEP
            else:
                folders.update(found)
                there[path] = record
        new = [record for path, record in there.items() if held.get(path) != record.sha256]
        waiting = iter(new)

        async def copy_some() -> None:
            for record in waiting:
                reasons[record.file.path] = await patiently(partial(self._copy, record, folder))

        await all_of(*(copy_some() for _ in new[:COPIED_AT_ONCE]))
        for path, reason in sorted(reasons.items()):
            if reason is not None:
                there.pop(path, None)
                skipped.skip(path.removeprefix(f"{ROOT}/"), reason)
        return there

    async def _all(self, tenant: str, container_id: str) -> list[ContainerFileRecord]:
        records: list[ContainerFileRecord] = []
        after, has_more = None, True
        while has_more:
            pagination = Pagination(_PAGE, after, descending=False)
            page = await patiently(partial(self._store.list_files, tenant, container_id, pagination))
            records += page.data
            has_more = page.has_more
            after = records[-1].file.id if records else None
        return records

    async def _copy(self, record: ContainerFileRecord, folder: Path) -> str | None:
        """Copy a file; return why it was not, None if it was."""
        path = folder / record.file.path.removeprefix(f"{ROOT}/")
        try:
            chunks = await self._open(record)
            await in_thread(_create, path, folder, await anext(chunks, b""))
            async for chunk in chunks:
                await in_thread(_append, path, chunk)
        except (FileExistsError, NotADirectoryError):
            return IN_THE_WAY
        except OSError as error:
            raise _cannot_copy() from error
        except NotFoundError:
            path.unlink(missing_ok=True)
            return "it was deleted meanwhile"
        except StorageError as error:
            path.unlink(missing_ok=True)
            if error.code != DAMAGED:
                raise
            return "its content is damaged"
        return None

    async def _open(self, record: ContainerFileRecord) -> AsyncIterator[bytes]:
        content = await self._content.open(
            record.stored,
            _WHOLE,
            rows=self._store,
            provider=PROVIDER_UNSPECIFIED,
            filename=record.filename,
            content_type=record.content_type,
            modified_at=record.file.created_at,
        )
        return content.chunks


def _cannot_copy() -> StorageError:
    """Return the error of a folder of Berth's own, for which no command should wait."""
    error = StorageError("The files of the container cannot be copied for the command.")
    error.is_final = True
    return error


def new_folders(path: str, known: set[str]) -> list[str]:
    """Return the folders that a path is in but for those that are `known`, and with them the ones that they are in."""
    found = []
    while (path := path.rpartition("/")[0]) and path not in known:
        found.append(path)
    return found


def _make_all(folders: Iterable[Path]) -> None:
    for folder in folders:
        folder.mkdir(mode=_FOLDER_MODE)


def _create(path: Path, top: Path, beginning: bytes) -> None:
    """Make a file below `top`, and the folders that it is in, with the beginning of its content."""
    _make_folders(path.parent, top)
    with path.open("xb") as file:
        os.fchmod(file.fileno(), _FILE_MODE)
        file.write(beginning)


def _append(path: Path, chunk: bytes) -> None:
    with path.open("ab") as file:
        file.write(chunk)


def _make_folders(path: Path, top: Path) -> None:
    """Make a folder below `top` and those that it is in, `top` included; others may make the same meanwhile."""
    if not path.is_dir():
        if path != top:
            _make_folders(path.parent, top)
        path.mkdir(mode=_FOLDER_MODE, exist_ok=True)
