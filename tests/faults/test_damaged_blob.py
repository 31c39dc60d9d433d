"""Bytes that are no longer what was stored are noticed, and never handed out as good."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from running import KEY_A, running

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


@pytest.mark.parametrize("harm", [damage, cut])
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


def blob(folder: Path) -> Path:
    """Return where the bytes of the only content are."""
    (only,) = (folder / "data" / "blobs").glob("*/*")
    return only
