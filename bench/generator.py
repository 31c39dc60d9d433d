"""Makes loads, in a process of its own: reads lists of them as lines of JSON, and writes what each came to.

A compiled program makes those that it can (compiled.py), asyncio the others.
"""

import asyncio
import json
import os
import random
import re
import resource
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory

import berth.v1.container_exec_service_pb2
import berth.v1.container_file_service_pb2
import berth.v1.container_service_pb2  # noqa: F401 - makes the descriptors known
import compiled
from loads import Load, Took

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
BOUNDARY = os.urandom(16).hex()  # as long as those of SDKs; searching for a short one takes longer
FORM_HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
FORM_TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
PIECE = os.urandom(256 * 1024)
LONGEST_SECONDS = 300.0
"""After which time a load has failed."""


class Caller(asyncio.Protocol):
    """Sends requests over one connection, one after another, and notes how long each took."""

    def __init__(self, load: Load, turns: Iterator[str], latencies: list[float], ids: list[str]) -> None:
        self._load, self._turns, self._latencies, self._ids = load, turns, latencies, ids
        self._head = _head(load.method, load.path, load.key, load.body.encode(), load.content_type)
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request; connections that pause between calls do not begin together."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        asyncio.get_running_loop().call_later(random.random() * self._load.pause_seconds, self._send)  # noqa: S311

    def _send(self) -> None:
        turn = next(self._turns, None)
        if turn is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._received, self._began = b"", time.perf_counter()
        self._transport.write(self._head.replace(b"$id", turn.encode()) if turn else self._head)

    def data_received(self, data: bytes) -> None:
        """Send the next request if the answer is complete."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or not (len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n")):
            return  # without a length it ends with an empty chunk
        self._latencies.append(time.perf_counter() - self._began)
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(f"{self._load.method} {self._load.path}: {self._received.decode()}"))
            self._transport.abort()
            return
        if self._load.method == "POST":
            self._ids.append(json.loads(body)["id"])
        if self._load.pause_seconds:
            asyncio.get_running_loop().call_later(self._load.pause_seconds, self._send)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if not self.done.done():
            self.done.set_exception(exc or ConnectionError("The server closed the connection."))


def _head(method: str, path: str, key: str, body: bytes, content_type: str, length: int | None = None) -> bytes:
    typed = f"Content-Type: {content_type}\r\nContent-Length: {length or len(body)}\r\n" if body or length else ""
    return f"{method} {path} HTTP/1.1\r\nHost: b\r\nAuthorization: Bearer {key}\r\n{typed}\r\n".encode() + body


async def rest(load: Load) -> Took:
    """Call over REST."""
    host, _, port = load.address.partition(":")
    latencies: list[float] = []
    ids: list[str] = []
    began, turns, loop = time.perf_counter(), load.turns(), asyncio.get_running_loop()
    create = partial(Caller, load, turns, latencies, ids)
    connected = (loop.create_connection(create, host, int(port)) for _ in range(load.connections))
    callers = [caller for _, caller in await asyncio.gather(*connected)]
    await asyncio.gather(*(caller.done for caller in callers))
    return Took.of(latencies, time.perf_counter() - began, ids)


async def over_grpc(load: Load) -> Took:
    """Call over gRPC, with all callers on one connection."""
    name, _, method_name = load.method.rpartition(".")
    method = descriptor_pool.Default().FindServiceByName(name).methods_by_name[method_name]
    request_class, response_class = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    latencies: list[float] = []
    ids: list[str] = []
    began, turns = time.perf_counter(), load.turns()
    async with grpc.aio.insecure_channel(load.address) as channel:
        kinds = ("unary", "stream")
        make = getattr(channel, f"{kinds[method.client_streaming]}_{kinds[method.server_streaming]}")
        call = make(f"/{name}/{method_name}", request_class.SerializeToString, response_class.FromString)

        async def caller() -> None:
            for turn in turns:
                message = json_format.Parse(load.body.replace("$id", turn), request_class())
                began = time.perf_counter()
                sent = call(iter([message]) if method.client_streaming else message, metadata=_metadata(load))
                answer = await _last(sent) if method.server_streaming else await sent
                latencies.append(time.perf_counter() - began)
                ids.append(getattr(answer, "id", ""))

        await asyncio.gather(*(caller() for _ in range(load.connections)))
    return Took.of(latencies, time.perf_counter() - began, ids)


def _metadata(load: Load) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {load.key}"),)


async def _last(messages: AsyncIterator[Any]) -> Any:
    """Return the last of some messages."""
    last = None
    async for message in messages:
        last = message
    return last


async def transfer(load: Load) -> Took:
    """Upload or download files of a size, one on each connection, at the same time."""
    began, move = time.perf_counter(), _download if load.door == "download" else _upload
    moved = await asyncio.gather(*(move(load) for _ in range(load.connections)))
    latencies, ids = zip(*moved, strict=True)
    return Took.of(list(latencies), time.perf_counter() - began, list(ids))


async def _upload(load: Load) -> tuple[float, str]:
    """Upload a file of which there is no second one; return how long it took, and its id."""
    head, tail, kind = b"", b"", "application/octet-stream"
    if load.door == "form":
        head, tail, kind = FORM_HEAD, FORM_TAIL, f"multipart/form-data; boundary={BOUNDARY}"
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(*load.address.split(":"))
    length = len(head) + load.size + len(tail)
    writer.write(_head("POST", load.path, load.key, b"", kind, length) + head + os.urandom(16))
    for start in range(16, load.size, len(PIECE)):
        writer.write(PIECE[: load.size - start])
        await writer.drain()
    writer.write(tail)
    body = await _answer(reader)
    writer.close()
    return time.perf_counter() - began, json.loads(body)["id"]


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = LENGTH.search(head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(f"{head!r} {body!r}")
    return body


async def _download(load: Load) -> tuple[float, str]:
    """Download a file; return how long it took."""
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(*load.address.split(":"))
    head = _head("GET", load.path, load.key, b"", "")
    writer.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    answer = await reader.readuntil(b"\r\n\r\n")
    received = 0
    while data := await reader.read(len(PIECE)):
        received += len(data)
    writer.close()
    if not answer.startswith(b"HTTP/1.1 200") or received < load.size:
        raise RuntimeError(f"{answer!r} and {received} bytes")
    return time.perf_counter() - began, ""


async def run(loads: list[Load]) -> list[Took]:
    """Run loads at the same time, and note how busy this process and its programs were."""
    if len(loads) == 1 and (took := compiled.run(loads[0])):
        return [took]
    kinds = {"rest": rest, "grpc": over_grpc}
    return list(await asyncio.gather(*(kinds.get(load.door, transfer)(load) for load in loads)))


def used_seconds() -> float:
    """Return the processor time that this process and the programs it started have used."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def answer_to(line: str) -> dict[str, object]:
    """Run the loads of a line; return what they took, or the error."""
    loads = [Load(**load) for load in json.loads(line)]
    used, began = used_seconds(), time.perf_counter()
    try:
        took = asyncio.run(asyncio.wait_for(run(loads), LONGEST_SECONDS))
    except Exception as error:  # noqa: BLE001 - the other side raises it
        return {"error": f"{type(error).__name__}: {error}"[:1000]}
    busy = (used_seconds() - used) / (time.perf_counter() - began)
    return {"took": [asdict(one) | {"busy": busy} for one in took]}


if __name__ == "__main__":
    for each in sys.stdin:
        print(json.dumps(answer_to(each)), flush=True)
