"""A real S3 server: moto on a free port, or the one that BERTH_TEST_S3_URL names, with an empty prefix for each test.

The variable is `http://KEY:SECRET@HOST:PORT/BUCKET`. The suites should pass on every server with the API of S3; moto is
too slow, and takes too much memory, for what is large.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from berth.adapters.blobs.object_settings import ObjectSettings
from berth.adapters.blobs.objects import ObjectBlobs

S3_URL = os.environ.get("BERTH_TEST_S3_URL")
"""A server for everything, in place of moto."""


@dataclass(frozen=True)
class S3:
    """A bucket of a running server, and a prefix in it."""

    endpoint: str
    key: str = "access-key"
    secret: str = "secret-key"
    bucket: str = "bucket"
    prefix: str = ""

    @property
    def url(self) -> str:
        """The URL of the bucket and prefix."""
        return f"s3://{self.bucket}/{self.prefix}"

    @property
    def inside(self) -> tuple[str, ...]:
        """A command that gives the one that follows it the credentials, as the environment has them."""
        return ("env", f"AWS_ACCESS_KEY_ID={self.key}", f"AWS_SECRET_ACCESS_KEY={self.secret}")

    @property
    def settings(self) -> dict[str, object]:
        """Settings of a Berth that keeps content here."""
        return {"blobs": {"url": self.url, "endpoint": self.endpoint, "region": "us-east-1"}}

    def fresh(self) -> "S3":
        """Return a prefix that nothing has used."""
        return replace(self, prefix=f"test/{uuid4().hex}")

    def at(self, endpoint: str) -> "S3":
        """Return the same bucket and prefix, reached in another way."""
        return replace(self, endpoint=endpoint)

    def object_settings(self, **others: Any) -> ObjectSettings:
        """Return the settings for ObjectBlobs, with the credentials."""
        given = {"access_key_id": self.key, "secret_access_key": self.secret, "token": None, "expires_at": None}
        return replace(
            ObjectSettings(self.url, self.endpoint, "us-east-1", credentials=lambda: given),
            **others,
        )

    def opened(self) -> ObjectBlobs:
        """Open a store here."""
        return ObjectBlobs.open(self.object_settings())

    def objects(self) -> list[str]:
        """Return the names of all blobs here."""
        found = self.client.list_objects_v2(Bucket=self.bucket, Prefix=f"{self.prefix}/").get("Contents", [])
        names = [entry["Key"].removeprefix(f"{self.prefix}/") for entry in found]
        return [name for name in names if not name.startswith(".")]

    def content(self, name: str) -> bytes:
        """Return the content of a blob."""
        found = self.client.get_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
        return cast("bytes", found["Body"].read())

    def uploads(self) -> list[str]:
        """Return the names of all unfinished uploads in parts here."""
        found = self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])
        return [entry["Key"] for entry in found if entry["Key"].startswith(f"{self.prefix}/")]

    @cached_property
    def client(self) -> Any:
        """A client that is not Berth's."""
        import boto3  # type: ignore[import-untyped]  # noqa: PLC0415 - it takes a second

        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
        )


@contextmanager
def s3_running() -> Iterator[S3]:
    """Run moto with an empty bucket for as long as the context lasts, or use the server of BERTH_TEST_S3_URL."""
    if S3_URL:
        yield _given(S3_URL)
        return
    program = [sys.executable, str(Path(__file__).with_name("moto_server.py"))]
    process = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        server = S3(f"http://127.0.0.1:{int(process.stdout.readline())}")
        server.client.create_bucket(Bucket=server.bucket)
        yield server
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _given(url: str) -> S3:
    parts = urlsplit(url)
    endpoint = f"{parts.scheme}://{parts.hostname}:{parts.port}"
    return S3(endpoint, parts.username or "", parts.password or "", parts.path.strip("/"))


_DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
_FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
    % (len(_DENIED), _DENIED)
)


class Door:
    """A TCP proxy before a server: while it is shut, the server seems to have stopped.

    While it `hangs`, the server seems to take requests and to answer none; with `refuses_writes`, to let its user read
    alone.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._port = 0
        self._listening: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._passes = asyncio.Event()
        self._passes.set()
        self.refuses_writes = False

    @property
    def endpoint(self) -> str:
        """The URL of the server behind it."""
        return f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        """Let connections through from now on, on the same port as before."""
        self._listening = await asyncio.start_server(self._meet, "127.0.0.1", self._port)
        self._port = self._listening.sockets[0].getsockname()[1]

    async def shut(self) -> None:
        """Break all connections, and refuse more."""
        if self._listening is not None:
            self._listening.close()
        for task in (tasks := list(self._tasks)):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """Pass nothing on for as long as the context lasts."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(task := cast("asyncio.Task[None]", asyncio.current_task()))
        writers = [writer]
        try:
            with suppress(OSError, asyncio.CancelledError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to_port)
                writers.append(to_server)
                await asyncio.gather(self._let_in(reader, to_server, writer), self._pass(from_server, writer))
        finally:
            self._tasks.discard(task)
            for each in writers:
                each.transport.abort()

    async def _let_in(
        self, reader: asyncio.StreamReader, to_server: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        """Pass requests on, unless one is refused, which ends the connection."""
        while piece := await reader.read(65_536):
            if self.refuses_writes and piece.startswith((b"PUT ", b"POST ")):
                back.write(_FORBIDDEN)
                await back.drain()
                break
            await self._passes.wait()
            to_server.write(piece)
            await to_server.drain()
        to_server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65_536):
            await self._passes.wait()
            writer.write(piece)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def door_to(server: S3) -> AsyncIterator[Door]:
    """Put an open door before a server."""
    door = Door(urlsplit(server.endpoint).port or 0)
    await door.open()
    try:
        yield door
    finally:
        await door.shut()
