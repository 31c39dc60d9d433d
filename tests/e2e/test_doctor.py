"""`berth doctor` beside a running Berth whose stored content is damaged."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.servers.berth import KEY_A, UNCOUNTED, running
from support.servers.process import refused_berth

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
BLOCK = 4 * 1024 * 1024
CONTENT = bytes(range(256)) * (5 * BLOCK // 2 // 256)
POSITION = 2 * BLOCK + 7


class Place:
    """A running Berth, its folder, and the doctor for it."""

    def __init__(self, folder: Path, client: httpx2.Client) -> None:
        self.folder = folder
        self.client = client

    @property
    def blobs(self) -> Path:
        return self.folder / "data" / "blobs"

    def doctor(self, *arguments: str) -> tuple[int, list[str], str]:
        """Run `berth doctor`; return its exit code, the lines on stdout, and stderr."""
        options = ("--config", str(self.folder / "berth.yaml"), "--data-dir", str(self.folder / "data"))
        status, output, errors = refused_berth("doctor", *arguments, *options)
        return status, output.splitlines(), errors

    def findings(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        """Run `berth doctor --json`; return its exit code and the findings."""
        status, lines, _ = self.doctor("--json", *arguments)
        return status, [json.loads(line) for line in lines]

    def upload(self, content: bytes) -> str:
        file: str = self.client.post("/v1/files?filename=x&purpose=batch", content=content).json()["id"]
        return file

    def read(self, file: str, **params: int) -> httpx2.Response:
        return self.client.get(f"/v1/files/{file}/content", params=params)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    headers = {"authorization": f"Bearer {KEY_A}"}
    with (
        running(tmp_path, SETTINGS, inside=UNCOUNTED) as berth,
        httpx2.Client(base_url=berth.rest, headers=headers, timeout=60) as client,
    ):
        yield Place(tmp_path, client)


def test_a_flipped_byte_is_found_noted_and_repaired(place: Place) -> None:
    """The doctor finds a flipped byte, notes it with --fix, and every read is a 503 until the next upload."""
    file = place.upload(CONTENT)
    status, lines, errors = place.doctor("--deep")
    assert (status, lines) == (0, [])
    assert errors == f"berth: examined 1 blob, {len(CONTENT)} bytes: all is well\n"
    (path,) = place.blobs.glob("*/*")
    blob = f"{path.parent.name}/{path.name}"
    with path.open("r+b") as stored:
        stored.seek(POSITION)
        stored.write(b"!")
    assert place.doctor()[:2] == (0, [])
    status, (line,), errors = place.doctor("--deep")
    assert (status, line) == (
        1,
        f"damaged_content: blob {blob} does not have its SHA-256; the damage is not noted yet (used by {file})",
    )
    assert errors.endswith(": 1 finding, 0 fixed\n")
    assert place.read(file, offset=1, length=3).content == CONTENT[1:4]
    status, (finding,) = place.findings("--deep", "--fix")
    assert status == 1
    assert finding == {
        "kind": "damaged_content",
        "message": line.replace(
            "the damage is not noted yet", "upload the same content again to repair it"
        ).removeprefix("damaged_content: "),
        "fixed": False,
        "blob": blob,
        "noted": True,
        "files": [file],
    }
    for params in ({}, {"offset": 1, "length": 3}, {"offset": POSITION, "length": 1}):
        answer = place.read(file, **params)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "file_damaged")
    assert [finding["kind"] for finding in place.findings()[1]] == ["damaged_content"]
    again = place.upload(CONTENT)
    for each in (file, again):
        assert place.read(each).content == CONTENT
        assert place.read(each, offset=POSITION, length=3).content == CONTENT[POSITION : POSITION + 3]
    os.utime(path, (1, 1))
    assert place.findings("--fix") == (
        0,
        [{"kind": "unreferenced_content", "message": f"no file uses blob {blob}", "fixed": True, "blob": blob}],
    )
    assert not path.exists()
    assert place.doctor("--deep")[:2] == (0, [])


def test_lost_content_stray_content_and_sums(place: Place) -> None:
    """One fix removes old stray content, corrects quotas, and leaves all rows; an upload brings lost content back."""
    lost, kept = place.upload(b"lost"), place.upload(b"kept")
    (path,) = [path for path in place.blobs.glob("*/*") if path.read_bytes() == b"lost"]
    path.unlink()
    for name, age in (("old", 3_700), ("new", 0)):
        stray = place.blobs / path.parent.name / name
        stray.write_bytes(b"stray")
        moment = stray.stat().st_mtime - age
        os.utime(stray, (moment, moment))
    database = place.folder / "data" / "berth.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("UPDATE tenants SET bytes = 1000")
        connection.commit()
    kinds = ["wrong_tenant_bytes", "missing_content", "unreferenced_content", "unreferenced_content"]
    status, findings = place.findings()
    assert (status, [finding["kind"] for finding in findings]) == (1, kinds)
    assert not any(finding["fixed"] for finding in findings)
    status, findings = place.findings("--fix")
    assert (status, [finding["fixed"] for finding in findings]) == (1, [True, False, True, False])
    assert {path.name for path in place.blobs.glob(f"{path.parent.name}/*")} >= {"new"}
    assert not (place.blobs / path.parent.name / "old").exists()
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT bytes FROM tenants").fetchall() == [(8,)]
        assert connection.execute("SELECT count(*) FROM tenant_files WHERE deleted_at IS NULL").fetchone() == (2,)
    assert place.read(lost).status_code == 503
    assert place.read(kept).content == b"kept"
    place.upload(b"lost")
    (place.blobs / path.parent.name / "new").unlink()
    assert place.read(lost).content == b"lost"
    assert place.findings("--deep") == (0, [])


def test_a_folder_without_berths_data_is_refused(tmp_path: Path) -> None:
    """Without a database, or with a folder that no Berth made, nothing is concluded and nothing created."""
    status, output, errors = refused_berth("doctor", "--fix", "--data-dir", str(tmp_path / "none"))
    assert (status, output) == (2, "")
    assert "there is no such file" in errors
    assert not (tmp_path / "none").exists()
    with running(tmp_path, SETTINGS, inside=UNCOUNTED):
        pass
    blobs = tmp_path / "data" / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.mkdir()  # as a disk that is not mounted looks
    status, output, errors = refused_berth("doctor", "--fix", "--data-dir", str(tmp_path / "data"))
    assert (status, output) == (2, "")
    assert "it is not a folder with blobs" in errors
