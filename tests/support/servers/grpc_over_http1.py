"""A server of the transport over HTTP/1.1, with methods that do what tests ask for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.protobuf.wrappers_pb2 import BytesValue
from grpc import StatusCode

from berth.rpc.transports.context import Context, Limited, Route, uncounted
from berth.rpc.transports.http1.server import Http1Server
from support.clients.grpc_over_http1 import Line

MIB = 1_048_576


@dataclass
class Methods:
    """The handlers, and what tests see of them."""

    server: Http1Server = field(init=False)
    socket: Path = field(init=False)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    ended: list[str] = field(default_factory=list)
    written: int = 0
    seen: dict[str, str | bytes] = field(default_factory=dict)
    seconds_left: float | None = None
    lines: list[Line] = field(default_factory=list)

    async def join(self, context: Context) -> bytes:
        """Answer all messages, joined with `|`."""
        self.seen = dict(context.invocation_metadata())
        self.seconds_left = context.time_remaining()
        messages = []
        while (message := await context.read(None)) is not None:
            messages.append(message)
        await context.require_whole([])
        context.attach_headers([("x-joined", str(len(messages)))], to_envoy="x-rest" in self.seen)
        return _bytes(b"|".join(messages))

    async def first(self, context: Context) -> bytes:
        """Answer the first message, and read no further."""
        return _bytes(await context.read(None) or b"")

    async def wait(self, _: Context) -> bytes:
        """Answer once the test says so; note how it ends."""
        self.began.set()
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("answered")
        return _bytes(b"waited")

    async def read_slowly(self, context: Context) -> bytes:
        """Read once the test says so; return the number of bytes."""
        self.began.set()
        await self.goes_on.wait()
        size = 0
        try:
            while (message := await context.read(None)) is not None:
                size += len(message)
        except asyncio.CancelledError:
            self.ended.append("cut off")
            raise
        return _bytes(str(size).encode())

    async def stream(self, context: Context) -> None:
        """Send 16 messages of a MiB."""
        await context.send_headers([("x-kind", "stream")])
        for _ in range(16):
            await context.write(_bytes(bytes(MIB)))
            self.written += 1

    async def echo(self, context: Context) -> None:
        """Answer each message before the next one arrives."""
        while (message := await context.read(None)) is not None:
            await context.write(_bytes(message))

    async def refuse(self, context: Context) -> bytes | None:
        """End with an error."""
        details: list[tuple[str, str | bytes]] = [("retry-after", "7"), ("grpc-status-details-bin", b"\x00\xff")]
        return await context.abort(StatusCode.NOT_FOUND, "50 % of 'é'\n", details)

    async def break_off(self, context: Context) -> None:
        """Break off after a message."""
        await context.write(_bytes(b"part"))
        await context.break_off(StatusCode.INTERNAL, "broken", [])

    async def inject(self, context: Context) -> bytes:
        """Attach a header with a line break."""
        is_rest = "x-rest" in dict(context.invocation_metadata())
        context.attach_headers([("x-evil", "a\r\nset-cookie: b")], to_envoy=is_rest)
        return _bytes(b"")

    async def fail(self, _: Context) -> bytes | None:
        """Fail with an error that is a secret."""
        raise RuntimeError("secret")

    async def too_large(self, _: Context) -> bytes:
        """Answer more than a message may have."""
        return _bytes(bytes(25 * MIB))

    async def large(self, context: Context) -> bytes:
        """Answer what does not leave unless it is read; note when it has left."""
        context.when_sent(lambda: self.ended.append("sent"))
        return _bytes(bytes(8 * MIB))

    def routes(self) -> dict[str, Route]:
        """Return all methods."""
        streams = (self.stream, self.echo, self.break_off)
        unary = (
            self.join,
            self.first,
            self.wait,
            self.read_slowly,
            self.refuse,
            self.inject,
            self.fail,
            self.too_large,
            self.large,
        )
        return {
            **{f"/{method.__name__}": Route(method, is_stream=False) for method in unary},
            **{f"/{method.__name__}": Route(method, is_stream=True) for method in streams},
        }

    async def line(self) -> Line:
        """Return a new connection, which is closed at the end."""
        line = await Line.open(self.socket)
        self.lines.append(line)
        return line


@asynccontextmanager
async def serving_http1(folder: Path, *, max_calls: int = 100, limited: Limited = uncounted) -> AsyncIterator[Methods]:
    """Serve the methods on a socket in `folder`."""
    methods = Methods()
    methods.socket = folder / "grpc"
    methods.server = Http1Server(methods.routes(), max_calls=max_calls, limited=limited)
    methods.server.bind(str(methods.socket))
    await methods.server.start()
    try:
        yield methods
    finally:
        for line in methods.lines:
            await line.close()
        await methods.server.stop(0)


def _bytes(value: bytes) -> bytes:
    """Return a message with `value`."""
    return BytesValue(value=value).SerializeToString()
