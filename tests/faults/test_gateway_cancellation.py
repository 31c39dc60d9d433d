"""A caller who goes away ends the call to the provider at once, and not when its time is up."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import pytest

from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.container_service_pb2 import RetrieveContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from support.fakes.uploads import GivenUpload
from support.providers.before import CALLS, ID, OURS, before
from support.providers.faults import GOOD
from support.providers.raw import Misbehaving, hang, head, misbehaving
from support.servers.background import in_background
from support.servers.berth import KEY_A, running
from support.servers.chain import passing_to
from support.servers.service import eventually

SETTINGS = {"auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]}, "default_provider": "openai"}
CONTENT = RetrieveContainerFileContentRequest(container_id=ID, file_id="cfile_1")
HALF_A_FILE = hang(head(200, content_length="2000", content_type="text/plain") + b"x" * 1000)
HEADERS = {"authorization": f"Bearer {KEY_A}"}
AT_ONCE_SECONDS = 10.0
"""It takes milliseconds, on a busy machine longer; a call that is not ended goes on for thirty seconds."""


@pytest.mark.parametrize("call", CALLS)
async def test_a_cancelled_call(call: str) -> None:
    """Each call that waits for the provider ends there when it is cancelled here."""
    async with misbehaving(hang()) as server, before(server.url) as at:
        task = asyncio.ensure_future(CALLS[call](at.backend))
        await eventually(lambda: server.answering == 1)
        await _cancelled(task)
        await eventually(lambda: server.answering == 0, seconds=AT_ONCE_SECONDS)
        assert len(server.calls) == 1


async def test_a_cancelled_download() -> None:
    """A download that is left in the middle is not read to its end."""
    received: list[bytes] = []

    async def download() -> None:
        content = await at.backend.retrieve_container_file_content(OURS, CONTENT)
        async for chunk in content.chunks:
            received.append(chunk)  # noqa: PERF401 - one by one: that is what is looked at

    async with misbehaving(HALF_A_FILE) as server, before(server.url) as at:
        task = asyncio.ensure_future(download())
        await eventually(lambda: bool(received))
        await _cancelled(task)
        await eventually(lambda: server.answering == 0, seconds=AT_ONCE_SECONDS)


async def test_a_download_that_nobody_reads() -> None:
    """Content that is closed before it was read ends the call, too."""
    async with misbehaving(HALF_A_FILE) as server, before(server.url) as at:
        content = await at.backend.retrieve_container_file_content(OURS, CONTENT)
        content.close()
        await eventually(lambda: server.answering == 0, seconds=AT_ONCE_SECONDS)


async def test_a_cancelled_upload() -> None:
    """An upload that the caller leaves in the middle never looks whole to the provider."""
    reached, go_on = asyncio.Event(), asyncio.Event()

    class Halting(GivenUpload):
        async def chunks(self) -> AsyncIterator[bytes]:
            yield b"half"
            reached.set()
            await go_on.wait()

    async with misbehaving(GOOD) as server, before(server.url) as at:
        task = asyncio.ensure_future(at.backend.create_container_file(OURS, Halting(ID)))
        await asyncio.wait_for(reached.wait(), 20)
        await _cancelled(task)
        await eventually(lambda: server.connected == 0, seconds=AT_ONCE_SECONDS)
        assert server.calls == []


async def _cancelled(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def test_through_envoy(tmp_path: Path) -> None:
    """A REST client that hangs up, and a gRPC caller whose deadline passes, end the call at the provider."""
    with in_background(misbehaving(GOOD, hang())) as provider:
        providers = {"openai": passing_to(f"{provider.url}/v1", "sk-up")}
        with running(tmp_path, SETTINGS | {"providers": providers}) as berth:
            container = httpx2.post(
                f"{berth.rest}/v1/containers", json={"name": "x"}, headers=HEADERS, timeout=30
            ).json()["id"]
            where = urlsplit(berth.rest)
            with socket.create_connection((where.hostname or "", where.port or 0)) as client:
                head_lines = f"GET /v1/containers/{container} HTTP/1.1", "Host: x", f"Authorization: Bearer {KEY_A}"
                client.sendall("\r\n".join([*head_lines, "", ""]).encode())
                _until(provider, answering=1)
            _until(provider, answering=0)
            with grpc.insecure_channel(berth.grpc) as channel:
                call = ContainerServiceStub(channel).RetrieveContainer.future(
                    RetrieveContainerRequest(container_id=container), metadata=tuple(HEADERS.items()), timeout=2
                )
                _until(provider, answering=1)
                assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            _until(provider, answering=0)


def _until(provider: Misbehaving, *, answering: int) -> None:
    asyncio.run(eventually(lambda: provider.answering == answering, seconds=AT_ONCE_SECONDS))
