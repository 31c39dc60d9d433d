"""Uploads and downloads that break off: nothing of them stays, however they end."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator

import grpc.aio
import pytest
from google.api.httpbody_pb2 import HttpBody

from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    CreateContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
)
from berth.v1.container_service_pb2 import CreateContainerRequest
from support.fakes.blobs import MemoryBlobs
from support.fakes.stores import FixedClock, MemoryStore
from support.servers.hosted import Kept, Left, hosted
from support.servers.service import OLLAMA, OURS, Served, eventually, serving

ATTEMPTS = 40


def piece(data: bytes, container_id: str = "") -> CreateContainerFileRequest:
    body = HttpBody(content_type="a/b", data=data)
    return CreateContainerFileRequest(container_id=container_id, body=body)


async def summary_of(served: Served) -> str:
    request = CreateContainerRequest(name="box", provider=OLLAMA)
    return (await served.containers.CreateContainer(request, metadata=OURS)).id


async def begun(
    served: Served, container_id: str
) -> "grpc.aio.StreamUnaryCall[CreateContainerFileRequest, ContainerFile]":
    """Begin an upload that looks whole wherever it is cut."""
    call = served.files.CreateContainerFile(metadata=OURS)
    await call.write(piece(b"hello", container_id))
    await call.write(piece(b"hello"))
    return call


async def ended(served: Served, calls: int) -> list[object]:
    """Wait until so many calls have been logged, the first of which made the container; return how they ended."""
    await eventually(lambda: len(served.lines()) == calls)
    return [line["status"] for line in served.lines()[1:]]


@pytest.mark.parametrize("waits", [0, 1, 5])
async def test_a_cancelled_upload_is_never_taken_for_a_whole_one(waits: int) -> None:
    """To grpc a stream that broke off reads like one that ended; no store, however fast, may see the difference."""
    store, blobs = MemoryStore(), MemoryBlobs()
    async with serving(hosted(store, blobs, clock=FixedClock())) as served:
        container_id = await summary_of(served)
        for _ in range(ATTEMPTS):
            call = await begun(served, container_id)
            for _ in range(waits):
                await asyncio.sleep(0)
            call.cancel()
        statuses = await ended(served, ATTEMPTS + 1)
        request = ListContainerFilesRequest(container_id=container_id)
        assert not (await served.files.ListContainerFiles(request, metadata=OURS)).data
    assert blobs.blobs == {}
    assert set(statuses) == {"CANCELLED"}
    assert not [entry for entry in served.log if entry["event"] == "call.failed"]


async def test_a_cancelled_upload_leaves_nothing_on_the_disk(served: Served, kept: Kept) -> None:
    """Neither a row nor a blob nor a part of one stays, at whichever moment the caller leaves."""
    container_id = await summary_of(served)
    for _ in range(ATTEMPTS):
        (await begun(served, container_id)).cancel()
    await ended(served, ATTEMPTS + 1)
    await eventually(lambda: kept.left() == Left(containers=1))


async def test_what_cannot_be_sent_to_a_caller_that_is_gone_is_no_error(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """The headers that no longer find their caller fail unseen: the log is for what somebody has to look at."""
    container_id = await summary_of(served)
    for _ in range(ATTEMPTS):
        call = await begun(served, container_id)
        await call.done_writing()
        call.cancel()
    await ended(served, ATTEMPTS + 1)
    gc.collect()
    await asyncio.sleep(0)
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_connection_that_is_cut_leaves_nothing(served: Served, kept: Kept) -> None:
    """A caller whose connection goes away has not uploaded anything."""
    container_id = await summary_of(served)
    for _ in range(5):
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}", options=options) as channel:
            path = "/berth.v1.ContainerFileService/CreateContainerFile"
            upload: grpc.aio.StreamUnaryMultiCallable[bytes, bytes] = channel.stream_unary(path)
            call = upload(metadata=OURS)
            await call.write(piece(b"hello", container_id).SerializeToString())
    await ended(served, 6)
    await eventually(lambda: kept.left() == Left(containers=1))


async def test_a_deadline_during_an_upload_leaves_nothing(served: Served, kept: Kept) -> None:
    """An upload that is not done in time has not happened."""
    home = await summary_of(served)
    call = served.files.CreateContainerFile(metadata=OURS, timeout=2)
    await call.write(piece(b"hello", home))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert await ended(served, 2) == ["DEADLINE_EXCEEDED"]
    await eventually(lambda: kept.left() == Left(containers=1))


async def test_a_message_that_is_too_large_leaves_nothing(served: Served, kept: Kept) -> None:
    """A message beyond the limit in the middle of an upload ends it; what came before is not kept."""

    async def pieces() -> AsyncIterator[CreateContainerFileRequest]:
        yield piece(b"hello", container_id)
        yield piece(bytes(24 * 1024 * 1024))

    container_id = await summary_of(served)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.files.CreateContainerFile(pieces(), metadata=OURS)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await ended(served, 2) == ["CANCELLED"]
    await eventually(lambda: kept.left() == Left(containers=1))


async def test_a_download_nobody_reads_any_more_is_no_error(served: Served, kept: Kept) -> None:
    """A caller that leaves in the middle is logged as gone, and the file stays."""

    async def pieces() -> AsyncIterator[CreateContainerFileRequest]:
        yield piece(bytes(100_000), container_id)

    container_id = await summary_of(served)
    file = await served.files.CreateContainerFile(pieces(), metadata=OURS)
    request = RetrieveContainerFileContentRequest(container_id=container_id, file_id=file.id)
    for _ in range(ATTEMPTS):
        call = served.files.RetrieveContainerFileContent(request, metadata=OURS)
        await anext(aiter(call))
        call.cancel()
    statuses = await ended(served, ATTEMPTS + 2)
    assert set(statuses) <= {"OK", "CANCELLED"}
    assert not [entry for entry in served.log if entry["event"] == "call.failed"]
    assert kept.left() == Left(containers=1, files=1, blobs=1)
