"""Commands in hosted containers and the files there: what they see, and what is stored of their changes.

They run with a fake sandbox: what isolates them is for the tests of the drivers.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from berth.core.background import BackgroundTasks
from berth.core.errors import StorageError
from berth.core.exec.changes import ChangedFile, DeletedFile
from berth.core.exec.harvest import FILES_AT_ONCE, Harvested, Harvester
from berth.core.exec.requests import ExecLimits
from berth.core.exec.store import RemovedFile
from berth.core.exec.workspace import COPIED_AT_ONCE, new_folders
from berth.core.hosted import patience
from berth.core.hosted.content import ContentStore
from berth.core.ports.container_store import ContainerFileRecord
from berth.core.trees import remove_tree
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
)
from support.fakes.stores import SequentialIds
from support.sandboxes.trees import make_deep
from support.servers.execs import OURS, ExecWorld, box, content, exec_world, of, paths, shell, upload
from support.servers.hosted import QUOTAS, Kept
from support.servers.service import eventually


async def test_changes_are_in_the_files_afterwards(kept: Kept, world: ExecWorld) -> None:
    """New files are the assistant's, changed ones keep their id and get new content, removed ones are gone."""
    container_id = await box(kept)
    ids = {name: await upload(kept, container_id, name, b"before") for name in ("kept", "changed", "d/gone")}
    result = await world.run(
        OURS, shell(container_id, "cat kept; echo x > changed; rm -r d; mkdir e; echo y > e/new.csv")
    )
    assert result.stdout == "before"
    by_path = {file.path: file for file in result.files}
    assert set(by_path) == {"/mnt/data/changed", "/mnt/data/e/new.csv"}
    new = by_path["/mnt/data/e/new.csv"]
    assert (new.source, new.bytes, new.container_id) == ("assistant", 2, container_id)
    assert by_path["/mnt/data/changed"].source == "user"
    after = await paths(kept, container_id)
    assert after == {"kept": ids["kept"], "changed": ids["changed"], "e/new.csv": new.id}
    assert await content(kept, container_id, ids["changed"]) == b"x\n"
    assert await content(kept, container_id, ids["kept"]) == b"before"
    assert kept.left().blobs == 3


async def test_shared_content_stays_as_it_is(kept: Kept, world: ExecWorld) -> None:
    """A command that changes its file does not change the same content in another container."""
    first, second = await box(kept), await box(kept)
    for container_id in (first, second):
        await upload(kept, container_id, "a", b"shared")
    await world.run(OURS, shell(first, "echo more >> a; chmod 777 a"))
    assert await content(kept, second, (await paths(kept, second))["a"]) == b"shared"


async def test_strange_files_are_skipped(kept: Kept, world: ExecWorld) -> None:
    """Links, names that the API does not allow and files that are too large are left out, with the reason."""
    command = (
        "ln -s /etc/passwd link; touch \"$(printf 'a\\nb')\" \"$(printf '\\377')\"; head -c 100001 /dev/zero > large"
    )
    container_id = await box(kept)
    result = await world.run(OURS, shell(container_id, command))
    skipped = {one.path.removeprefix("/mnt/data/"): one.reason for one in result.skipped_files}
    assert set(skipped) == {"link", "a\nb", "\N{REPLACEMENT CHARACTER}", "large"}
    assert all(skipped.values())
    assert (await paths(kept, container_id), kept.left().blobs) == ({}, 0)


def harvester(kept: Kept) -> Harvester:
    """Return one that takes files of at most 100 bytes."""
    content = ContentStore(
        kept.blobs,
        max_bytes=100,
        new_id=SequentialIds(),
        background=BackgroundTasks(),
        report_damage=lambda _: None,
        report_left=lambda _: None,
    )
    return Harvester(lambda _: iter(()), content, SequentialIds())


async def test_a_file_that_is_too_large_is_not_read(kept: Kept) -> None:
    """It is left out because of its size alone: a file without content may be of any size."""
    taken, unreadable = Harvested(), os.open(os.devnull, os.O_WRONLY)
    await harvester(kept).take(iter([ChangedFile("large", 101, unreadable)]), {}, taken)
    os.close(unreadable)
    assert [one.reason for one in taken.skipped] == ["The file is too large: at most 100 bytes are allowed."]


def count_open() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("failing", [1, 4, 12])
async def test_what_was_stored_before_an_error_is_known(
    failing: int, kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is to be deleted; every file is closed, and what was not complete is gone already."""
    numbers, put = iter(range(1, 100)), kept.blobs.put

    async def put_some(key: str, chunks: AsyncIterator[bytes]) -> None:
        if next(numbers) == failing:
            raise StorageError("the disk has failed")
        await put(key, chunks)

    def changes() -> Iterator[ChangedFile]:
        for number in range(20):
            path = tmp_path / str(number)
            path.write_bytes(b"%d" % number)
            with path.open("rb") as file:
                yield ChangedFile(path.name, path.stat().st_size, file.fileno())

    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(kept.blobs, "put", put_some)
    taken, opened = Harvested(), count_open()
    with pytest.raises(StorageError):
        await harvester(kept).take(changes(), {}, taken)
    assert count_open() == opened
    assert (len(taken.blobs) >= FILES_AT_ONCE) == (failing > FILES_AT_ONCE)
    assert len(taken.blobs) == kept.left().blobs


class Unsearched(Mapping[str, ContainerFileRecord]):
    """Files of a container that can be looked up, one by one."""

    def __init__(self, files: Mapping[str, ContainerFileRecord]) -> None:
        self._files = files

    def __getitem__(self, path: str) -> ContainerFileRecord:
        return self._files[path]

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError


async def test_a_removed_file_is_not_searched_for(kept: Kept) -> None:
    """All calls wait while removed files are noted, so it must not take longer the more files there are."""
    record = ContainerFileRecord(ContainerFile(id="cfile_1"), "a", "text/plain", "digest", "blob")
    taken, before = Harvested(), Unsearched({"/mnt/data/d/a": record})
    await harvester(kept).take(iter([DeletedFile("d/a"), DeletedFile("d/b")]), before, taken)
    assert taken.removed == {"/mnt/data/d/a": RemovedFile("cfile_1", "digest")}


def test_folders_that_are_known_are_not_looked_at_again() -> None:
    """Each folder is looked at once, however many files are in it."""
    known: set[str] = set()
    assert new_folders("/mnt/data/a/b/c", known) == ["/mnt/data/a/b", "/mnt/data/a", "/mnt/data", "/mnt"]
    assert new_folders("/mnt/data/a/b/c", {"/mnt/data/a"}) == ["/mnt/data/a/b"]
    assert new_folders("/mnt/data/a/b/d", {"/mnt/data/a/b"}) == []


async def test_only_so_many_files_are_taken(kept: Kept) -> None:
    """Of very many files the first are stored, the others are skipped, and the result names a bounded number."""
    world = exec_world(kept, limits=ExecLimits(files=3))
    container_id = await box(kept)
    result = await world.run(OURS, shell(container_id, "seq 1100 | xargs touch"))
    assert (len(await paths(kept, container_id)), len(result.files), len(result.skipped_files)) == (3, 3, 1000)


async def test_changes_beyond_a_quota_are_not_stored(kept: Kept, world: ExecWorld) -> None:
    """If the changes do not fit, none of them is stored, the outcome is "disk", and no blob is left."""
    container_id = await box(kept)
    before = await upload(kept, container_id, "a", b"a")
    command = "rm a; for i in 1 2 3; do head -c 90000 /dev/urandom > $i; done"
    result = await world.run(OURS, shell(container_id, command))
    assert (result.outcome.type, list(result.files)) == ("disk", [])
    assert (await paths(kept, container_id), kept.left().blobs) == ({"a": before}, 1)
    result = await world.run(OURS, shell(container_id, "rm a", env={"DISK": "1"}))
    assert (result.outcome.type, await paths(kept, container_id)) == ("disk", {"a": before})
    assert QUOTAS.container_bytes < 3 * 90_000


async def test_the_api_changes_files_meanwhile(kept: Kept, world: ExecWorld) -> None:
    """What a command wrote wins at its path; what it did not touch stays as the API left it."""
    container_id = await box(kept)
    ids = {name: await upload(kept, container_id, name, b"before") for name in ("a", "b", "c", "d")}
    command = "touch ready; while [ ! -e ../go ]; do sleep 0.01; done; echo 2 > a; echo 2 > b; rm d"
    started = await world.execs.create_container_exec(OURS, shell(container_id, command))
    await eventually(lambda: any(world.folder.rglob("ready")))
    for name in ("a", "b"):
        await kept.backend.delete_container_file(
            OURS, DeleteContainerFileRequest(container_id=container_id, file_id=ids[name])
        )
    other = await upload(kept, container_id, "b", b"of the API")
    replaced = await upload(kept, container_id, "e", b"of the API")
    next(world.folder.rglob("ready")).parent.parent.joinpath("go").touch()
    await world.execs.retrieve_container_exec(OURS, of(started), is_awaited=True)
    after = await paths(kept, container_id)
    assert set(after) == {"a", "b", "c", "e", "ready"}
    assert after["a"] not in ids.values()
    assert (after["b"], after["e"]) == (other, replaced)
    assert await content(kept, container_id, other) == b"2\n"


async def test_files_are_read_several_at_a_time(kept: Kept, world: ExecWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command does not wait for each of its files after the other, and sees all of them, in folders of any depth."""
    container_id, meeting, get = await box(kept), asyncio.Barrier(COPIED_AT_ONCE), kept.blobs.get
    for number in range(2 * COPIED_AT_ONCE):
        await upload(kept, container_id, f"{'d/' * (number % 5)}{number}", b"%d " % number)

    async def read_together(key: str, *, offset: int, length: int) -> AsyncIterator[bytes]:
        await meeting.wait()
        return await get(key, offset=offset, length=length)

    monkeypatch.setattr(kept.blobs, "get", read_together)
    async with asyncio.timeout(30):
        result = await world.run(OURS, shell(container_id, "find . -type f | xargs cat"))
    assert sorted(map(int, result.stdout.split())) == list(range(2 * COPIED_AT_ONCE))


async def test_files_that_cannot_be_read_end_the_command(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """If one fails, no other is waited for, and nothing is left of the folder."""
    world, container_id = exec_world(kept), await box(kept)
    for name in ("a", "b", "c"):
        await upload(kept, container_id, name, name.encode())
    is_slow = iter([True, False, True])

    async def fail_second(*_: object, **__: object) -> None:
        if next(is_slow):
            await asyncio.Event().wait()
        raise StorageError("the disk has failed")

    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0)
    monkeypatch.setattr(kept.blobs, "get", fail_second)
    async with asyncio.timeout(30):
        result = await world.run(OURS, shell(container_id, "cat a b c"))
    assert (result.outcome.type, [type(error) for error in world.failures]) == ("lost", [StorageError])
    assert list(world.folder.iterdir()) == []


async def test_files_in_the_way_of_others_are_skipped(kept: Kept, world: ExecWorld) -> None:
    """A file at the path of another one's folder is not laid out, is named, and stays as it is."""
    container_id = await box(kept)
    ids = {name: await upload(kept, container_id, name, b"1") for name in ("a", "a/b", "a/c")}
    result = await world.run(OURS, shell(container_id, "find . -type f"))
    assert (result.stdout, [one.path for one in result.skipped_files]) == ("./a\n", ["/mnt/data/a/b", "/mnt/data/a/c"])
    assert await paths(kept, container_id) == ids


async def test_files_that_are_too_deep_are_skipped(kept: Kept, world: ExecWorld) -> None:
    """A file in more than 64 folders is not laid out, is named, and stays as it is: its tree would exceed the limit."""
    container_id, folders = await box(kept), "d/" * 64
    ids = {name: await upload(kept, container_id, name, b"1") for name in (f"{folders}a", f"{folders}e/b")}
    result = await world.run(OURS, shell(container_id, "find . -type f"))
    assert (result.stdout, [one.path for one in result.skipped_files]) == (
        f"./{folders}a\n",
        [f"/mnt/data/{folders}e/b"],
    )
    assert await paths(kept, container_id) == ids


def test_nothing_is_left_of_a_folder(tmp_path: Path) -> None:
    """The folder of a command is removed although the command made parts of it inaccessible; no link is followed."""
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir(mode=0o755)
    (folder / "closed").mkdir(parents=True)
    (folder / "closed" / "file").touch()
    (folder / "link").symlink_to(outside)
    (folder / "closed").chmod(0)
    remove_tree(folder)
    assert (folder.exists(), outside.stat().st_mode & 0o777) == (False, 0o755)


def test_nothing_is_left_of_a_deep_tree(tmp_path: Path) -> None:
    """Folders inside one another are removed also if there are more of them than Python calls functions."""
    folder = tmp_path / "folder"
    make_deep(folder, 1500)
    remove_tree(folder)
    assert list(tmp_path.iterdir()) == []
