"""Forms that break off, at every byte and in every way there is: nothing of them is stored."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from functools import partial
from pathlib import Path

import grpc.aio
import httpx2
import pytest
from google.api.httpbody_pb2 import HttpBody

from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from berth.v1.file_service_pb2 import CreateFileRequest
from support.clients.http1 import Answer, exchange, is_tidy
from support.servers.berth import KEY_A, Berth, running
from support.servers.service import eventually

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
    "listen": {"metrics": "127.0.0.1:0"},
}
TYPE = "multipart/form-data; boundary=e"
FIELD = b'--e\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'--e\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhi\r\n--e--'
AT_A_TIME = 64


class Cutting:
    """A Berth, a container in it, and the two places that forms go to, each with a form."""

    def __init__(self, berth: Berth, folder: Path) -> None:
        self.berth = berth
        self.folder = folder
        self._headers = {"authorization": f"Bearer {KEY_A}"}
        made = httpx2.post(f"{berth.rest}/v1/containers", headers=self._headers, json={"name": "cut"}, timeout=30)
        self.container_id: str = made.json()["id"]
        self.files = f"/v1/containers/{self.container_id}/files"
        self.forms = {self.files: FILE, "/v1/files": FIELD + FILE}

    async def post(self, path: str, framing: str, pieces: list[bytes], *, is_whole: bool) -> Answer:
        """Send what a form is cut to."""
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY_A}\r\ncontent-type: {TYPE}\r\n{framing}"
        return await exchange(self.berth.rest, [f"{head}\r\n\r\n".encode(), *pieces], is_whole=is_whole)

    async def begin(self, channel: grpc.aio.Channel, path: str, size: int) -> "grpc.aio.StreamUnaryCall[bytes, bytes]":
        """Begin a call over gRPC with the first bytes of a form."""
        body = HttpBody(content_type=TYPE, data=self.forms[path][:size])
        inside = CreateContainerFileRequest(container_id=self.container_id, body=body)
        method, request = (
            ("ContainerFileService/CreateContainerFile", inside.SerializeToString())
            if path == self.files
            else ("FileService/CreateFile", CreateFileRequest(body=body).SerializeToString())
        )
        upload: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(f"/berth.v1.{method}")
        call = upload(metadata=(("authorization", f"Bearer {KEY_A}"),))
        await call.write(request)
        return call

    async def check_nothing_is_there(self) -> None:
        """Check that no file is listed and that no byte is left, once no call is running."""
        await eventually(lambda: "berth_calls_in_flight 0.0" in self._metrics())
        for path in self.forms:
            assert httpx2.get(f"{self.berth.rest}{path}", headers=self._headers, timeout=30).json()["data"] == []
        await eventually(partial(is_tidy, self.folder / "data"))

    def _metrics(self) -> list[str]:
        assert self.berth.metrics is not None
        return httpx2.get(self.berth.metrics, timeout=30).text.splitlines()


@pytest.fixture(scope="module")
def cutting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cutting]:
    """Run a Berth for the tests of this module, which store nothing."""
    folder = tmp_path_factory.mktemp("cut")
    with running(folder, SETTINGS) as berth:
        yield Cutting(berth, folder)


@pytest.fixture
async def channel(cutting: Cutting) -> AsyncIterator[grpc.aio.Channel]:
    """Open a channel to the service itself."""
    async with grpc.aio.insecure_channel(cutting.berth.grpc) as channel:
        yield channel


async def each(cuts: Iterable[Awaitable[None]]) -> None:
    """Await all of `cuts`, some at a time."""
    slots = asyncio.Semaphore(AT_A_TIME)

    async def one(cut: Awaitable[None]) -> None:
        async with slots:
            await cut

    await asyncio.gather(*map(one, cuts))


async def test_a_length_that_is_never_reached(cutting: Cutting) -> None:
    """A caller that goes away before its content-length is reached, even with the form complete, stored nothing."""

    async def cut(path: str, size: int) -> None:
        body = cutting.forms[path]
        answer = await cutting.post(path, f"content-length: {len(body) + 1}", [body[:size]], is_whole=False)
        assert answer.status == 0

    await each(cut(path, size) for path, body in cutting.forms.items() for size in range(len(body) + 1))
    await cutting.check_nothing_is_there()


async def test_a_length_that_is_too_small(cutting: Cutting) -> None:
    """A body ends where its content-length says: a form that does not is a 400, whatever comes behind it."""

    async def cut(path: str, size: int, *, goes_on: bool) -> None:
        body = cutting.forms[path]
        pieces = [body if goes_on else body[:size]]
        answer = await cutting.post(path, f"content-length: {size}", pieces, is_whole=True)
        assert answer.is_refusal() if answer.status else goes_on

    await each(
        cut(path, size, goes_on=goes_on)
        for path, body in cutting.forms.items()
        for size in range(len(body))
        for goes_on in (False, True)
    )
    await cutting.check_nothing_is_there()


async def test_a_last_chunk_that_is_missing(cutting: Cutting) -> None:
    """A chunked body without its last chunk has broken off, even if the form in it is complete."""

    async def cut(path: str, size: int, *, ending: bytes) -> None:
        body = cutting.forms[path][:size]
        pieces = [b"%x\r\n%b\r\n" % (size, body)] if size else []
        answer = await cutting.post(path, "transfer-encoding: chunked", [*pieces, ending], is_whole=False)
        assert answer.status in {0, 400}

    await each(
        cut(path, size, ending=ending)
        for path, body in cutting.forms.items()
        for size in range(len(body) + 1)
        for ending in (b"", b"0\r\n", b"5\r\nx")
    )
    await cutting.check_nothing_is_there()


async def test_a_form_that_has_reached_the_disk(cutting: Cutting) -> None:
    """What was written before a form broke off, or turned out to be none, goes again."""
    unknown = b"\r\n" + FIELD.replace(b"purpose", b"colour") + b"--e--"
    for path, body in cutting.forms.items():
        large = [body.removesuffix(b"\r\n--e--"), *[bytes(100_000)] * 10]
        length = sum(map(len, large)) + len(unknown)
        for end in (b"", b"\r\n--e--"):
            answer = await cutting.post(path, f"content-length: {length}", [*large, end], is_whole=False)
            assert answer.status == 0
        answer = await cutting.post(path, f"content-length: {length}", [*large, unknown], is_whole=True)
        assert answer.is_refusal()
    await cutting.check_nothing_is_there()


async def test_a_stream_that_is_cancelled(cutting: Cutting, channel: grpc.aio.Channel) -> None:
    """A gRPC call that is cancelled after any byte, the last one included, stored nothing."""

    async def cut(path: str, size: int) -> None:
        call = await cutting.begin(channel, path, size)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    await each(cut(path, size) for path, body in cutting.forms.items() for size in range(len(body) + 1))
    await cutting.check_nothing_is_there()


async def test_a_stream_that_ends_too_early(cutting: Cutting, channel: grpc.aio.Channel) -> None:
    """A gRPC call whose stream ends before the form does is INVALID_ARGUMENT."""

    async def cut(path: str, size: int) -> None:
        call = await cutting.begin(channel, path, size)
        await call.done_writing()
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT

    await each(cut(path, size) for path, body in cutting.forms.items() for size in range(len(body)))
    await cutting.check_nothing_is_there()
