"""`berth store copy` from files to servers and back, and the commands on rows that a PostgreSQL server has."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest
import yaml

from berth.app.stores.copies import copy_store
from berth.config import load
from berth.launch.refusal import StartError
from support.clients.polling import wait_until
from support.servers.berth import KEY_A, Berth, running
from support.servers.postgres import Postgres
from support.servers.process import refused_berth
from support.servers.s3 import S3

KEY_B = "sk-bf-b"
SETTINGS: dict[str, Any] = {
    "default_provider": "ollama",
    "auth": {
        "virtual_keys": [
            {"name": "a", "value": KEY_A, "tenant": "a"},
            {"name": "b", "value": KEY_B, "tenant": "b"},
        ]
    },
}
SECRET = {
    "name": "secret",
    "network_policy": {
        "type": "allowlist",
        "allowed_domains": ["a.example"],
        "domain_secrets": [{"domain": "a.example", "name": "TOKEN", "value": "ünïcode-secret"}],
    },
}
REPEATED = {"idempotency-key": "the-same-request"}
MIB = 1024 * 1024


@dataclass
class Installation:
    """A configuration with a data folder, the variables of its commands, and what a client knows of it."""

    folder: Path
    settings: dict[str, Any]
    s3: S3

    @property
    def file(self) -> Path:
        return self.folder / "settings.yaml"  # "berth.yaml" is what `running` writes

    @property
    def inside(self) -> tuple[str, ...]:
        return self.s3.inside

    def write(self) -> "Installation":
        """Write the configuration, with the data folder that `running` uses."""
        self.folder.mkdir(exist_ok=True)
        data = {"data_dir": str(self.folder / "data")}
        self.file.write_text(yaml.safe_dump({**self.settings, **data}))
        return self

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command for it; return exit code, stdout and stderr."""
        return run(self.s3, *arguments, "--config", str(self.file))


@dataclass
class Moved:
    """Two installations of which the second is a copy of the first, and what clients saw of the first."""

    first: Installation
    second: Installation
    seen: dict[str, Any]
    key: str


def run(s3: S3, *arguments: str) -> tuple[int, str, str]:
    """Run a command with the credentials of the bucket."""
    return refused_berth(*arguments, environ={"AWS_ACCESS_KEY_ID": s3.key, "AWS_SECRET_ACCESS_KEY": s3.secret})


def copy(source: Installation, target: Installation, *options: str) -> tuple[int, str, str]:
    """Copy stores; return exit code, stdout and stderr."""
    return run(source.s3, "store", "copy", "--from", str(source.file), "--to", str(target.file), *options)


def refuse(source: Installation, target: Installation, reason: str) -> None:
    """Check that copying stores is refused for a reason."""
    with pytest.raises(StartError, match=reason):
        asyncio.run(copy_store(load(source.file, {}), load(target.file, {}), skips_damaged=False))


def on_servers(folder: Path, postgres: Postgres, s3: S3) -> Installation:
    """Return a new installation on an empty database and an empty prefix."""
    s3 = s3.fresh()
    return Installation(folder, {**SETTINGS, **s3.settings, "store": {"url": postgres.fresh()}}, s3).write()


def client_of(berth: Berth, key: str = KEY_A) -> httpx2.Client:
    return httpx2.Client(base_url=f"{berth.rest}/v1", headers={"x-bf-vk": key}, timeout=60)


def fill(client: httpx2.Client) -> dict[str, str]:
    """Create what can be copied; return ids of resources that are gone."""
    contents = (b"shared", b"large!" * MIB, b"", b"gone")
    files = [client.post("/files?filename=f&purpose=batch", content=content).json()["id"] for content in contents]
    boxes = [client.post("/containers", json={"name": f"box-{n}", "file_ids": files}).json()["id"] for n in range(3)]
    client.post("/containers", json=SECRET).raise_for_status()
    client.post("/containers", json={"name": "once"}, headers=REPEATED).raise_for_status()
    client.post(f"/containers/{boxes[2]}/files?filename=own.txt", content=b"own").raise_for_status()
    client.delete(f"/files/{files[3]}").raise_for_status()
    client.delete(f"/containers/{boxes[1]}").raise_for_status()
    return {"files": files[3], "containers": boxes[1]}


def seen_by(client: httpx2.Client, gone: dict[str, str]) -> dict[str, Any]:
    """Return all that a client sees, with lists that continue from resources that are gone."""
    seen: dict[str, Any] = {path: listed(client, f"/{path}") for path in ("containers", "files")}
    seen |= {f"{path} after": listed(client, f"/{path}?order=desc&after={gone[path]}") for path in gone}
    for file in seen["files"]:
        seen[file["id"]] = digest(client, f"/files/{file['id']}/content")
    for box in seen["containers"]:
        seen[box["id"]] = files = listed(client, f"/containers/{box['id']}/files")
        seen |= {file["id"]: digest(client, f"/containers/{box['id']}/files/{file['id']}/content") for file in files}
    seen["usage"] = usage(client)
    again = client.post("/containers", json={"name": "once"}, headers=REPEATED)
    assert again.headers["idempotent-replayed"] == "true"
    seen["once"] = again.json()["id"]
    return seen


def usage(client: httpx2.Client) -> list[tuple[str, int]]:
    """Return the providers for which containers were counted, and how many."""
    return [(row["provider"], row["containers"]) for row in listed(client, "/usage") if row["containers"]]


def listed(client: httpx2.Client, path: str) -> list[dict[str, Any]]:
    """Return a list, without the moments at which it was used."""
    items: list[dict[str, Any]] = client.get(path).raise_for_status().json()["data"]
    return [{name: value for name, value in item.items() if name != "last_active_at"} for item in items]


def digest(client: httpx2.Client, path: str) -> tuple[str, int]:
    answer = client.get(path).raise_for_status()
    return answer.headers["etag"], len(answer.content)


def grow(client: httpx2.Client) -> None:
    """Create one more of each kind, and a container that is gone at once."""
    file = client.post("/files?filename=new&purpose=batch", content=b"new").raise_for_status().json()["id"]
    client.post("/containers", json={"name": "new", "file_ids": [file]}).raise_for_status()
    last = client.post("/containers", json={"name": "last"}).raise_for_status().json()["id"]
    client.delete(f"/containers/{last}").raise_for_status()


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, s3_server: S3) -> Moved:
    """Fill an installation on files, and copy it to servers."""
    folder = tmp_path_factory.mktemp("first")
    first = Installation(folder, SETTINGS, s3_server).write()
    second = on_servers(tmp_path_factory.mktemp("second"), postgres, s3_server)
    with running(folder, SETTINGS) as berth, client_of(berth) as client, client_of(berth, KEY_B) as other:
        gone = fill(client)
        other.post("/files?filename=f&purpose=batch", content=b"shared").raise_for_status()
        status, key, _ = first.run("keys", "create", "--name", "stored", "--tenant", "a")
        assert status == 0
        refused = copy(first, second)
        assert (refused[0], "is in use by another Berth" in refused[2]) == (2, True)
        seen = {"gone": gone, **seen_by(client, gone)}
    status, output, errors = copy(first, second)
    assert (status, "differ" in output, "finished: start Berth" in errors) == (0, False, True), output + errors
    assert {"containers: 5 rows, the same", "domain_secrets: 1 row, the same"} <= set(output.splitlines())
    return Moved(first, second, seen, key.strip())


@pytest.fixture(scope="module")
def berth(moved: Moved) -> Iterator[Berth]:
    """Run a Berth on the servers."""
    second = moved.second
    with running(second.folder, second.settings, inside=second.inside) as berth:
        yield berth


def test_clients_see_the_same_on_the_servers(moved: Moved, berth: Berth) -> None:
    """After the copy a client sees the same files, containers, usage and outcomes, and can create more."""
    gone = moved.seen["gone"]
    with client_of(berth) as client:
        assert {"gone": gone, **seen_by(client, gone)} == moved.seen
        grow(client)
        assert len(listed(client, "/containers")) == len(moved.seen["containers"]) + 1
    with client_of(berth, moved.key) as client:
        assert client.get("/containers").status_code == 200
    with client_of(berth, KEY_B) as client:
        assert len(listed(client, "/files")) == 1
    assert len(moved.second.s3.objects()) == 6  # "gone" is still in two containers


def test_what_is_no_source_or_target(moved: Moved, berth: Berth, tmp_path: Path) -> None:
    """What is not empty is no target, and what a Berth uses is neither a source nor a target."""
    assert berth.process.poll() is None
    third, none = (Installation(tmp_path / name, SETTINGS, moved.first.s3).write() for name in ("third", "none"))
    away = Installation(tmp_path / "away", moved.second.settings, moved.second.s3).write()
    keyed = Installation(tmp_path / "keyed", {**SETTINGS, "store": {"secret_key": "ab" * 32}}, moved.first.s3).write()
    in_use = "is in use by a Berth; stop all of them first"
    for source, target, reason in (
        (away, third, in_use),
        (moved.first, away, in_use),
        (moved.first, moved.first, "both configurations name the same database"),
        (moved.first, keyed, "store.secret_key"),
        (none, third, "there is no such file"),
    ):
        refuse(source, target, reason)
    assert not (third.folder / "data" / "berth.db").exists()


def test_backup_restore_and_doctor(moved: Moved, berth: Berth, postgres: Postgres, tmp_path: Path) -> None:
    """Beside a Berth on servers a backup is a folder as any other; it is restored into others, and the doctor works."""
    backup = str(tmp_path / "backup")
    with client_of(berth) as client:
        gone = client.post("/files?filename=x&purpose=batch", content=b"only in the backup").json()["id"]
        status, _, errors = moved.second.run("backup", backup)
        assert (status, "is complete" in errors) == (0, True), errors
        client.delete(f"/files/{gone}").raise_for_status()
    other = on_servers(tmp_path / "other", postgres, moved.second.s3)
    status, _, errors = other.run("restore", backup)
    assert (status, "is restored" in errors) == (0, True), errors
    with closing(sqlite3.connect(f"{backup}/berth.db")) as rows:
        (expected,) = rows.execute("SELECT seq FROM sqlite_sequence WHERE name = 'containers'").fetchone()
    name = urlsplit(other.settings["store"]["url"]).path[1:]
    assert int(postgres.execute("SELECT last_value FROM containers_seq_seq", name)) == expected
    damage(other, postgres, name)
    status, output, _ = other.run("doctor", "--deep", "--fix", "--json")
    found = {finding["kind"]: finding for finding in map(json.loads, output.splitlines())}
    assert (status, set(found)) == (1, {"wrong_tenant_bytes", "wrong_size"}), output
    assert (found["wrong_tenant_bytes"]["fixed"], found["wrong_size"]["noted"]) == (True, True)
    assert postgres.execute("SELECT sum(damaged) FROM blobs", name) == "1\n"


def damage(place: Installation, postgres: Postgres, name: str) -> None:
    """Change an object and a sum."""
    key = f"{place.s3.prefix}/{place.s3.objects()[0]}"
    place.s3.client.put_object(Bucket=place.s3.bucket, Key=key, Body=b"damaged!")
    postgres.execute("UPDATE tenants SET bytes = 7 WHERE tenant = 'a'", name)


def test_back_to_files(moved: Moved, berth: Berth, postgres: Postgres, tmp_path: Path) -> None:
    """The way back to files works as well: clients see the same, and numbers go on where they were."""
    gone, name = moved.seen["gone"], urlsplit(moved.second.settings["store"]["url"]).path[1:]
    with client_of(berth) as client:
        created = int(postgres.execute("SELECT count(*) FROM containers", name))
        wait_until(lambda: usage(client) == [("ollama", created)])  # those that run are counted every five seconds
        seen = seen_by(client, gone)
    berth.stop()
    third = Installation(tmp_path, SETTINGS, moved.first.s3).write()
    status, output, errors = copy(moved.second, third)
    assert (status, "differ" in output) == (0, False), output + errors
    newest = int(postgres.execute("SELECT max(seq) FROM containers", name))
    number = int(postgres.execute("SELECT last_value FROM containers_seq_seq", name))
    with closing(sqlite3.connect(third.folder / "data" / "berth.db")) as rows:
        assert rows.execute("SELECT max(seq) FROM containers").fetchone() == (newest,)
        assert rows.execute("SELECT seq FROM sqlite_sequence WHERE name = 'containers'").fetchone() == (number,)
        assert rows.execute("SELECT value FROM domain_secrets").fetchall() == [("ünïcode-secret",)]
    with running(tmp_path, SETTINGS) as last, client_of(last) as client:
        assert seen_by(client, gone) == seen
        grow(client)
