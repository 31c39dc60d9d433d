"""Bytes that are no longer what was stored are noticed, and never handed out as good."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from support.servers.berth import KEY_A, running

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}
LARGE = 2 * 1024 * 1024


def damage(path: Path) -> None:
    """Turn one bit over in the last byte."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    """Take the last byte away."""
    path.write_bytes(path.read_bytes()[:-1])


def lose(path: Path) -> None:
    """Take the whole file away."""
    path.unlink()


@pytest.mark.parametrize("harm", [damage, cut, lose])
def test_a_small_file_is_an_error(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """What fits into one piece is refused with a status, in a container and outside, and clients do not insist."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
    ):
        form = {"file": ("a", b"precious")}
        file = client.post("/v1/files", files=form, data={"purpose": "batch"}).json()["id"]
        container = client.post("/v1/containers", json={"name": "x", "file_ids": [file]}).json()["id"]
        (copy,) = client.get(f"/v1/containers/{container}/files").json()["data"]
        harm(blob(tmp_path))
        for path in (f"/v1/files/{file}", f"/v1/containers/{container}/files/{copy['id']}"):
            answer = client.get(f"{path}/content")
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "file_damaged")
            assert answer.headers["x-should-retry"] == "false"
            assert b"precious"[:7] not in answer.content


@pytest.mark.parametrize("harm", [damage, cut])
def test_a_large_file_breaks_off(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """What is under way already breaks off before its end, so that nobody takes it for whole."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
    ):
        container = client.post("/v1/containers", json={"name": "broken"}).json()["id"]
        files = f"/v1/containers/{container}/files"
        file = client.post(f"{files}?filename=x", content=bytes(LARGE)).json()["id"]
        harm(blob(tmp_path))
        with pytest.raises(httpx2.RemoteProtocolError):
            client.get(f"{files}/{file}/content")
        assert client.get(f"{files}/{file}").status_code == 200


@pytest.mark.parametrize("harm", [damage, cut, lose])
def test_the_next_upload_mends_it(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Once damage was noticed, which the log says once, the same content heals all files that have it."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
    ):

        def upload() -> str:
            form = {"file": ("a", b"precious")}
            file: str = client.post("/v1/files", files=form, data={"purpose": "batch"}).json()["id"]
            return f"/v1/files/{file}/content"

        first = upload()
        container = client.post("/v1/containers", json={"name": "x", "file_ids": [first.split("/")[3]]}).json()["id"]
        (copy,) = client.get(f"/v1/containers/{container}/files").json()["data"]
        inside = f"/v1/containers/{container}/files/{copy['id']}/content"
        bad = blob(tmp_path)
        harm(bad)
        assert [client.get(path).status_code for path in (first, inside, first)] == [503] * 3
        last = upload()
        assert [client.get(path).content for path in (first, inside, last)] == [b"precious"] * 3
        assert blob(tmp_path, besides=bad).read_bytes() == b"precious"
    lines = [json.loads(line) for line in berth.log.read_text().splitlines() if '"blob.damaged"' in line]
    assert [(line["blob"], line["level"]) for line in lines] == [(f"{bad.parent.name}/{bad.name}", "error")]


def blob(folder: Path, *, besides: Path | None = None) -> Path:
    """Return where the bytes of the only content are, but for those that wait for the sweep."""
    (only,) = set((folder / "data" / "blobs").glob("*/*")) - {besides}
    return only
