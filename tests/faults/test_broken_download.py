"""A download that cannot be finished must not look finished."""

from pathlib import Path

import grpc
import httpx2
import pytest

from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from support.servers.berth import KEY_A, running

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}
FILE_BYTES = 64 * 1024 * 1024


def test_bytes_that_vanish(tmp_path: Path) -> None:
    """When the bytes go away in the middle of a download, a REST client gets an error, not a shorter file."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
    ):
        container = client.post("/v1/containers", json={"name": "broken"}).json()["id"]
        files = f"/v1/containers/{container}/files"
        file = client.post(f"{files}?filename=x", content=bytes(FILE_BYTES)).json()["id"]
        with client.stream("GET", f"{files}/{file}/content") as response:
            pieces = response.iter_raw()
            next(pieces)
            blob(tmp_path).unlink()
            with pytest.raises(httpx2.RemoteProtocolError):
                list(pieces)
        assert client.get(f"/v1/containers/{container}").status_code == 200


def test_bytes_that_vanish_over_grpc(tmp_path: Path) -> None:
    """A gRPC caller gets the status of the error in the same case."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
    ):
        container = client.post("/v1/containers", json={"name": "broken"}).json()["id"]
        file = client.post(f"/v1/containers/{container}/files?filename=x", content=bytes(FILE_BYTES)).json()["id"]
        request = RetrieveContainerFileContentRequest(container_id=container, file_id=file)
        with grpc.insecure_channel(berth.grpc) as channel:
            stub = ContainerFileServiceStub(channel)
            parts = stub.RetrieveContainerFileContent(request, metadata=tuple(HEADERS.items()))
            next(parts)
            blob(tmp_path).unlink()
            with pytest.raises(grpc.RpcError) as caught:
                list(parts)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def blob(folder: Path) -> Path:
    """Return where the bytes of the only file are."""
    (only,) = (folder / "data" / "blobs").glob("*/*")
    return only
