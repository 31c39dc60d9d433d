"""Backups beside a Berth that is busy, killed and made again, and restored with kills as well."""

import hashlib
import random
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
import yaml

from support.measuring.soak import only_long, soak, times
from support.servers.berth import KEY_A, environment, running
from support.servers.process import refused_berth
from support.servers.starting import command

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}
WORKERS = 3
PAGE = 1000


class Place:
    """The folder of a Berth, with rows in a file or on a server, and the options of commands for it."""

    def __init__(self, folder: Path, kind: str, request: pytest.FixtureRequest) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.settings: dict[str, object] = dict(SETTINGS)
        if kind == "postgres":
            self.settings["store"] = {"url": request.getfixturevalue("postgres").fresh()}
        file = folder / "berth.yaml"
        file.write_text(yaml.safe_dump(self.settings))
        self.options = ("--config", str(file), "--data-dir", str(folder / "data"))

    def has_rows(self) -> bool:
        """Return whether there is a database that a Berth can use."""
        return refused_berth("doctor", *self.options)[0] == 0


class Files:
    """The files of some workers: the digest of each, by id, and those that are not deleted."""

    def __init__(self) -> None:
        self.digests: dict[str, str] = {}
        self.there: set[str] = set()


def work(rest: str, seed: int, files: Files, ended: threading.Event) -> None:
    """Upload and delete files until `ended`; some have the same content."""
    dice = random.Random(seed)  # noqa: S311 - no secrets
    kept: list[str] = []
    with httpx2.Client(base_url=rest, headers=HEADERS, timeout=60) as client:
        while not ended.is_set():
            content = dice.choice([b"same", dice.randbytes(dice.choice([10, 10_000, 3_000_000]))])
            answer = client.post("/v1/files?filename=x&purpose=batch", content=content).raise_for_status()
            kept.append(answer.json()["id"])
            files.digests[kept[-1]] = hashlib.sha256(content).hexdigest()
            files.there.add(kept[-1])
            while len(kept) > dice.choice([1, 20]):
                oldest = kept.pop(0)
                files.there.discard(oldest)
                client.delete(f"/v1/files/{oldest}").raise_for_status()


def kill_after(seconds: float, *arguments: str) -> None:
    """Start a command and kill it after a while, unless it has ended."""
    with subprocess.Popen(command(*arguments), stderr=subprocess.DEVNULL, env=environment()) as process:
        time.sleep(seconds)  # a random moment, not a condition
        process.kill()


def check(rest: str, expected: set[str], digests: dict[str, str]) -> int:
    """Check that all expected files are there and that each file has its content; return how many there are."""
    with httpx2.Client(base_url=rest, headers=HEADERS, timeout=60) as client:
        ids = [file["id"] for file in client.get("/v1/files", params={"limit": PAGE}).json()["data"]]
        assert expected <= set(ids)
        for file in ids:
            content = client.get(f"/v1/files/{file}/content").raise_for_status().content
            assert hashlib.sha256(content).hexdigest() == digests[file]
    return len(ids)


@soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=only_long("the short form is on SQLite"))])
def test_a_backup_under_load_is_complete(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every file of the backup's moment is restored with its content, whichever backup or restore was killed before."""
    dice, files, ended = random.Random(14), Files(), threading.Event()  # noqa: S311 - no secrets
    place = Place(tmp_path, kind, request)
    backup = str(tmp_path / "backup")
    restored = 0
    for number in range(times(1, 12)):
        target = Place(tmp_path / f"restored-{number}", kind, request)
        with running(place.folder, place.settings) as berth, ThreadPoolExecutor(WORKERS) as pool:
            workers = [pool.submit(work, berth.rest, seed, files, ended) for seed in range(WORKERS)]
            try:
                for _ in range(times(1, 3)):
                    kill_after(dice.uniform(0.4, 1.5), "backup", backup, *place.options)
                before = set(files.there)
                assert refused_berth("backup", backup, *place.options)[:2] == (0, "")
                expected = before & files.there
            finally:
                ended.set()
            for worker in workers:
                worker.result()
        ended.clear()
        kill_after(dice.uniform(0.4, 1.2), "restore", backup, *target.options)
        if not target.has_rows():
            assert refused_berth("restore", backup, *target.options)[:2] == (0, "")
        assert refused_berth("doctor", "--deep", *target.options)[:2] == (0, "")
        with running(target.folder, target.settings) as copy:
            restored += check(copy.rest, expected, files.digests)
    print(f"\nbackups: {restored} files restored of {len(files.digests)} uploaded, none lost or torn")  # noqa: T201 - figures of make soak
