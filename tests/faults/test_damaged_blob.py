"""Bytes that are no longer what was stored are noticed, and never handed out as good."""

from collections.abc import Callable
from pathlib import Path

import grpc
import httpx2
import pytest

from berth.v1.file_service_pb2 import RetrieveFileContentRequest
from berth.v1.file_service_pb2_grpc import FileServiceStub
from support.servers.berth import KEY_A, running

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}
LARGE = 2 * 1024 * 1024
BLOCK = 4 * 1024 * 1024


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
    """What is under way already breaks off before its end, and the next read is refused with a status."""
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
        assert_damaged(client, f"{files}/{file}/content")


def test_a_flipped_byte_is_not_sent(tmp_path: Path) -> None:
    """Ranges of a damaged block are refused, over REST and gRPC, those of other blocks are sent until it is noted."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=60) as client,
        grpc.insecure_channel(berth.grpc) as channel,
    ):
        content = bytes(range(256)) * (3 * BLOCK // 2 // 256)

        def upload() -> str:
            file: str = client.post("/v1/files?filename=x&purpose=batch", content=content).json()["id"]
            return file

        file = upload()
        path = f"/v1/files/{file}/content"
        with blob(tmp_path).open("r+b") as stored:
            stored.seek(BLOCK + 5)
            stored.write(b"!")
        for offset in (0, BLOCK - 3):
            part = client.get(path, params={"offset": offset, "length": 3})
            assert (part.status_code, part.content) == (200, content[offset : offset + 3])
        assert client.get(path, headers={"range": "bytes=0-2"}).status_code == 206
        assert client.get(path, params={"offset": BLOCK + 100, "length": 3}).status_code == 503
        assert_damaged(client, path)
        for length in (3, None):
            request = RetrieveFileContentRequest(file_id=file, length=length)
            with pytest.raises(grpc.RpcError) as caught:
                list(FileServiceStub(channel).RetrieveFileContent(request, metadata=tuple(HEADERS.items()), timeout=60))
            assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "damaged" in str(caught.value.details())
        again = upload()
        for each in (file, again):
            assert client.get(f"/v1/files/{each}/content").content == content
            part = client.get(f"/v1/files/{each}/content", params={"offset": BLOCK + 4, "length": 3})
            assert part.content == content[BLOCK + 4 : BLOCK + 7]


def assert_damaged(client: httpx2.Client, path: str) -> None:
    """Check that the whole file and every range of it are refused before their first byte."""
    requests: list[tuple[dict[str, int], dict[str, str]]] = [
        ({}, {}),
        ({"offset": 1, "length": 3}, {}),
        ({}, {"range": "bytes=0-2"}),
        ({}, {"range": "bytes=-3"}),
    ]
    for params, headers in requests:
        answer = client.get(path, params=params, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "file_damaged")
    assert client.head(path).status_code == 503


@pytest.mark.parametrize("harm", [damage, cut, lose])
def test_the_next_upload_mends_it(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    """Once damage was noticed, and the log has said so, the same content heals all files that have it."""
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
    lines = [event for event in berth.events() if event["event"] == "blob.damaged"]
    said = 4 if harm is lose else 1  # at three reads and the upload
    assert [(line["blob"], line["level"]) for line in lines] == [(f"{bad.parent.name}/{bad.name}", "error")] * said


def blob(folder: Path, *, besides: Path | None = None) -> Path:
    """Return where the bytes of the only content are, but for those that wait for the sweep."""
    (only,) = set((folder / "data" / "blobs").glob("*/*")) - {besides}
    return only
