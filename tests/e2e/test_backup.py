"""`berth backup` beside a running Berth, and `berth restore` into a new one."""

import stat
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.servers.berth import KEY_A, UNCOUNTED, Berth, running
from support.servers.process import refused_berth

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}


class Place:
    """A running Berth with its folders, and the commands for it."""

    def __init__(self, folder: Path, client: httpx2.Client, berth: Berth) -> None:
        self.folder = folder
        self.berth = berth
        self.client = client
        self.backup = folder / "backups" / "today"

    @property
    def blobs(self) -> Path:
        return self.folder / "data" / "blobs"

    def run(self, name: str, *, folder: Path | None = None, data: str = "data") -> tuple[int, str, str]:
        """Run a command for a data folder; return its exit code, stdout and stderr."""
        options = ("--config", str(self.folder / "berth.yaml"), "--data-dir", str(self.folder / data))
        return refused_berth(name, *([] if name == "doctor" else [str(folder or self.backup)]), *options)

    def upload(self, content: bytes) -> str:
        file: str = self.client.post("/v1/files?filename=x&purpose=batch", content=content).json()["id"]
        return file

    def blob(self, content: bytes) -> Path:
        """Return the path of the blob with some content."""
        (path,) = [path for path in self.blobs.glob("*/*") if path.read_bytes() == content]
        return path


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with (
        running(tmp_path, SETTINGS, inside=UNCOUNTED) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=60) as client,
    ):
        yield Place(tmp_path, client, berth)


def test_a_backup_is_restored(place: Place, tmp_path: Path) -> None:
    """A backup has the state of its moment, follows changes when it is repeated, and can be restored."""
    gone, kept = place.upload(b"gone"), place.upload(b"kept" * 1_000_000)
    box = place.client.post("/v1/containers", json={"name": "box", "file_ids": [kept, gone]}).json()["id"]
    message = f"berth: copied 2 blobs, 4000004 bytes; 0 blobs kept; the backup in {place.backup} is complete\n"
    assert place.run("backup") == (0, "", message)
    for path in (place.backup, place.backup / "blobs"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    place.client.delete(f"/v1/files/{gone}").raise_for_status()
    for file in place.client.get(f"/v1/containers/{box}/files").json()["data"]:
        if file["bytes"] == len(b"gone"):
            place.client.delete(f"/v1/containers/{box}/files/{file['id']}").raise_for_status()
    assert not [path for path in place.blobs.glob("*/*") if path.read_bytes() == b"gone"]
    new = place.upload(b"new")
    message = f"berth: copied 1 blob, 3 bytes; 1 blob kept; the backup in {place.backup} is complete\n"
    assert place.run("backup") == (0, "", message)
    assert len(list((place.backup / "blobs").glob("*/*"))) == 2
    message = f"berth: copied 2 blobs, 4000003 bytes; the backup in {place.backup} is restored\n"
    other = tmp_path / "other"
    assert place.run("restore", data="other/data") == (0, "", message)
    assert place.run("doctor", data="other/data")[0] == 0
    assert (other / "data" / "direct-secret").read_text() == (tmp_path / "data" / "direct-secret").read_text()
    with (
        running(other, SETTINGS, inside=UNCOUNTED) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
    ):
        assert [file["id"] for file in client.get("/v1/files").json()["data"]] == [new, kept]
        (file,) = client.get(f"/v1/containers/{box}/files").json()["data"]
        assert client.get(f"/v1/containers/{box}/files/{file['id']}/content").content == b"kept" * 1_000_000


def test_what_is_damaged_is_named_and_the_rest_is_backed_up(place: Place) -> None:
    """A backup without the content that is missing or damaged names it and ends with 1; so does restoring a bad one."""
    place.upload(b"good"), place.upload(b"lost"), place.upload(b"flip")
    lost, flipped = place.blob(b"lost"), place.blob(b"flip")
    lost.unlink()
    flipped.write_bytes(b"flop")
    status, output, errors = place.run("backup")
    assert status == 1
    names = [f"{path.parent.name}/{path.name}" for path in (lost, flipped)]
    assert set(output.splitlines()) == {f"blob {names[0]} is missing", f"blob {names[1]} does not have its SHA-256"}
    assert "copied 1 blob, 4 bytes" in errors
    status, output, _ = place.run("restore", data="other")
    assert (status, len(output.splitlines())) == (1, 2)


def test_nothing_is_overwritten(place: Place, tmp_path: Path) -> None:
    """Restoring over data, and folders that are missing or have other files, are refused and change nothing."""
    assert place.run("backup")[0] == 0
    status, _, errors = place.run("restore")
    assert (status, "is in use by another Berth" in errors) == (2, True)
    assert place.run("restore", data="other")[0] == 0
    status, _, errors = place.run("restore", data="other")
    assert (status, "berth.db exists; move it away" in errors) == (2, True)
    assert place.run("backup", folder=tmp_path / "backups")[::2] == (
        2,
        f"berth: {tmp_path / 'backups'} has other files than a backup: today\n",
    )
    status, _, errors = place.run("restore", folder=tmp_path / "none", data="third")
    assert (status, errors) == (2, f"berth: there is no backup in {tmp_path / 'none'}\n")
    assert not (tmp_path / "third").exists()
    status, _, errors = place.run("backup", folder=tmp_path / "berth.yaml")
    assert (status, errors.count("\n")) == (2, 1)
    assert [entry.name for entry in (tmp_path / "backups").iterdir()] == ["today"]


def test_a_refused_backup_leaves_the_folder_as_it_is(place: Place, tmp_path: Path) -> None:
    """A file with the name of the lock is not replaced in a folder that is no backup."""
    folder = tmp_path / "work"
    folder.mkdir(mode=0o700)
    for name in ("lock", "notes"):
        (folder / name).write_text("mine")
        (folder / name).chmod(0o600)
    assert place.run("backup", folder=folder)[::2] == (2, f"berth: {folder} has other files than a backup: notes\n")
    assert {entry.name: entry.read_text() for entry in folder.iterdir()} == {"lock": "mine", "notes": "mine"}


def test_berth_does_not_start_on_half_a_backup(place: Place, tmp_path: Path) -> None:
    """After a restore that was cut off, `berth up` refuses to start, until it was restored again."""
    assert place.run("backup")[0] == 0
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    (other / "data" / "berth.db.restoring").write_bytes((place.backup / "berth.db").read_bytes()[:1000])
    status, _, errors = place.run("up", folder=Path("--replace"), data="other/data")
    assert (status, "restoring a backup was not finished" in errors) == (2, True)
    assert place.run("restore", data="other/data")[0] == 0
    with running(other, SETTINGS, inside=UNCOUNTED) as berth:
        assert httpx2.get(f"{berth.rest}/v1/files", headers=HEADERS, timeout=30).json()["data"] == []


def killed(berth: Berth) -> None:
    """Kill a Berth, which leaves what it has written last in the log of its database."""
    berth.process.kill()
    berth.process.wait()


def test_a_backup_replaces_no_data(place: Place, tmp_path: Path) -> None:
    """Folders that a Berth has run on, although they were a backup, or that overlap with the data stay as they are."""
    assert place.run("backup")[0] == 0
    with running(tmp_path, SETTINGS, data="backups/today", inside=UNCOUNTED) as berth:
        status, _, errors = place.run("restore", data="new")
        assert (status, errors) == (2, f"berth: {place.backup} is in use by another process\n")
        killed(berth)
    before = (place.backup / "berth.db").read_bytes()
    status, _, errors = place.run("backup")
    assert (status, "has other files than a backup" in errors) == (2, True)
    assert (place.backup / "berth.db").read_bytes() == before
    (tmp_path / "link").symlink_to(place.blobs)
    for folder in (tmp_path / "data" / "new", tmp_path / "link" / "new", tmp_path):
        status, _, errors = place.run("backup", folder=folder)
        assert (status, "the data are in" in errors) == (2, True), folder
    assert not (place.blobs / "new").exists()


def test_logs_of_another_database_are_not_applied(place: Place, tmp_path: Path) -> None:
    """Restoring where only the log of a killed Berth is left is refused; a log in a backup does not damage the next."""
    place.upload(b"first")
    assert place.run("backup")[0] == 0
    database = tmp_path / "data" / "berth.db"
    for number in range(10):
        place.upload(b"%d" % number)
    killed(place.berth)
    log = database.with_name("berth.db-wal")
    assert log.stat().st_size > 0
    copy = log.read_bytes()
    database.rename(tmp_path / "old.db")
    status, _, errors = place.run("restore")
    assert (status, errors) == (2, f"berth: store.url: {log} exists; move it away to restore a backup in its place\n")
    log.rename(tmp_path / "old.db-wal")
    assert place.run("restore")[0] == 0
    (place.backup / log.name).write_bytes(copy)
    assert place.run("backup")[0] == 0
    assert place.run("doctor", data="backups/today")[2] == "berth: examined 1 blob, 5 bytes: all is well\n"


def test_a_restore_replaces_damaged_content(place: Place, tmp_path: Path) -> None:
    """Content that is still there when a backup is restored is verified, and replaced if it is damaged."""
    place.upload(b"good"), place.upload(b"flip")
    assert place.run("backup")[0] == 0
    place.berth.stop()
    place.blob(b"flip").write_bytes(b"flop")
    (tmp_path / "data" / "berth.db").unlink()
    status, _, errors = place.run("restore")
    assert (status, "copied 1 blob, 4 bytes" in errors) == (0, True)
    assert place.blob(b"flip")
