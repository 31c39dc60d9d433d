"""gRPC over HTTP/1.1 on raw sockets: what Envoy may send, and what only a broken peer would."""

import asyncio
import base64
import gzip
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import BytesValue

from support.clients.grpc_over_http1 import Line, chunked, framed, head, request
from support.servers.grpc_over_http1 import MIB, Methods, serving_http1
from support.servers.service import eventually

OK, CANCELLED, UNKNOWN, DEADLINE_EXCEEDED, NOT_FOUND = 0, 1, 2, 4, 5
RESOURCE_EXHAUSTED, UNIMPLEMENTED, INTERNAL = 8, 12, 13
TOO_LARGE = b"\0" + (24 * MIB + 1).to_bytes(4, "big")


@pytest.fixture
async def methods(tmp_path: Path) -> AsyncIterator[Methods]:
    """Serve methods for tests."""
    async with serving_http1(tmp_path) as methods:
        yield methods


@pytest.fixture
async def line(methods: Methods) -> Line:
    """Return a connection."""
    return await methods.line()


def value(message: bytes) -> bytes:
    return BytesValue.FromString(message).value


async def is_usable(line: Line) -> bool:
    """Return whether another call on the connection succeeds."""
    return value((await line.ask(request("/join", b"more"))).messages[0]) == b"more"


async def test_a_call_may_arrive_in_pieces(line: Line) -> None:
    """Wherever a request is split, it is the same call, and the connection serves the next one."""
    whole = head("/join", "x-a: b") + chunked(framed(b"one")[:3], framed(b"one")[3:] + framed(b"two"))
    for place in range(1, len(whole)):
        line.writer.write(whole[:place])
        await asyncio.sleep(0)
        answer = await line.ask(whole[place:])
        assert (answer.grpc_status, value(answer.messages[0])) == (OK, b"one|two")
    for byte in whole:
        line.writer.write(bytes([byte]))
        await asyncio.sleep(0)
    assert value((await line.answer()).messages[0]) == b"one|two"


async def test_a_body_may_have_a_length(line: Line) -> None:
    """A body in one piece is as good as one in chunks, and trailers of a request are ignored."""
    body = framed(b"one")
    length = f"content-length: {len(body)}"
    plain = head("/join", length).replace(b"transfer-encoding: chunked\r\n", b"")
    assert value((await line.ask(plain + body)).messages[0]) == b"one"
    trailed = head("/join") + chunked(body)[:-2] + b"x-trailer: 1\r\n\r\n"
    assert value((await line.ask(trailed)).messages[0]) == b"one"
    assert await is_usable(line)


async def test_headers_go_where_their_reader_looks(line: Line) -> None:
    """Headers of a response to REST are headers, for which Envoy needs no length; others get them as trailers."""
    rest = await line.ask(request("/join", b"a", headers=("x-rest: 1",)))
    assert (rest.headers["x-joined"], rest.headers["transfer-encoding"]) == ("1", "chunked")
    assert dict(rest.trailers) == {"grpc-status": "0"}
    assert dict((await line.ask(request("/join", b"a"))).trailers) == {"grpc-status": "0", "x-joined": "1"}


async def test_metadata_may_be_binary(line: Line, methods: Methods) -> None:
    """Metadata whose name ends in -bin are Base64 on the wire, with and without padding, in both directions."""
    await line.ask(request("/join", headers=("X-Mixed: \xe9", "a-bin: AP8=", "b-bin: AP8", "c-bin:")))
    expected = {"x-mixed": "\xe9", "a-bin": b"\x00\xff", "b-bin": b"\x00\xff", "c-bin": b""}
    assert {name: methods.seen[name] for name in expected} == expected
    refused = await line.ask(request("/refuse"))
    assert base64.b64decode(refused.headers["grpc-status-details-bin"]) == b"\x00\xff"
    assert (await line.ask(request("/join", headers=("a-bin: ?",)))).status == 400


async def test_an_error_is_in_the_headers(line: Line) -> None:
    """An error without messages has no body, and its text is escaped as gRPC wants."""
    answer = await line.ask(request("/refuse", b"x"))
    assert (answer.status, answer.grpc_status, answer.headers["content-length"]) == (200, NOT_FOUND, "0")
    assert answer.headers["grpc-message"] == "50 %25 of '%C3%A9'%0A"
    assert answer.headers["retry-after"] == "7"
    assert await is_usable(line)


async def test_both_directions_may_be_open(line: Line) -> None:
    """A stream is answered while it arrives, as reflection needs."""
    line.writer.write(head("/echo"))
    for message in (b"one", b"two"):
        line.writer.write(b"%x\r\n%b\r\n" % (len(framed(message)), framed(message)))
        await line.reader.readuntil(message)
    line.writer.write(b"0\r\n\r\n")
    assert b"grpc-status: 0" in await line.reader.readuntil(b"\r\n\r\n")
    assert await is_usable(line)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (request("/nowhere", b"x"), 200),
        (request("/join").replace(b"application/grpc", b"application/json"), 415),
        (request("/join").replace(b"POST", b"GET", 1), 405),
        (head("/join", version="1.0"), 505),
        (head("/join", "content-length: 5") + b"0\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (head("/join", f"x-long: {'x' * 100_000}"), 431),
        (head("/join")[:-2] + b"x" * 200_000, 431),
        (head("/join", *(f"x-{number}: y" for number in range(20_000))), 431),
    ],
    ids=["path", "type", "method", "version", "lengths", "nonsense", "http2", "long", "endless", "many"],
)
async def test_what_is_no_call_is_refused(line: Line, methods: Methods, sent: bytes, status: int) -> None:
    """What is not a call gets an answer that closes the connection; an unknown path is UNIMPLEMENTED."""
    answer = await line.ask(sent)
    assert (answer.status, answer.headers["content-length"]) == (status, "0")
    assert answer.headers.get("grpc-status") == (str(UNIMPLEMENTED) if status == 200 else None)
    assert answer.headers["connection"] == "close"
    assert await (await methods.line()).ask(request("/join"))


@pytest.mark.parametrize("body", [b"zz\r\n", b"1\r\nab\r\n", b"-1\r\n", b"1" * 20 + b"\r\n"])
async def test_bad_chunks_end_the_call(line: Line, methods: Methods, body: bytes) -> None:
    """A call with a body that is not in chunks is cancelled, and its connection closed."""
    line.writer.write(head("/wait"))
    await methods.began.wait()
    line.writer.write(body)
    assert await line.is_closed()
    await eventually(lambda: methods.ended == ["cancelled"])


async def test_trailers_have_a_limit(line: Line, methods: Methods) -> None:
    """Trailers and chunk extensions that never end are not kept for ever."""
    line.writer.write(head("/wait") + b"0\r\nx-endless: " + b"x" * 300_000)
    assert await line.is_closed()
    await eventually(lambda: methods.ended == ["cancelled"])


async def test_a_second_request_at_a_time_is_refused(line: Line, methods: Methods) -> None:
    """Envoy sends one request at a time: two of them end both."""
    line.writer.write(request("/wait") + request("/join", b"smuggled"))
    assert await line.is_closed()
    await eventually(lambda: methods.ended in ([], ["cancelled"]))


@pytest.mark.parametrize("sent", [head("/wait"), request("/wait", b"x")], ids=["in the body", "after it"])
@pytest.mark.parametrize("half", [True, False])
async def test_a_closed_connection_cancels_the_call(line: Line, methods: Methods, sent: bytes, *, half: bool) -> None:
    """A handler is cancelled when the connection closes, also if only one half of it does."""
    line.writer.write(sent)
    await methods.began.wait()
    if half:
        line.writer.write_eof()
    else:
        await line.close()
    await eventually(lambda: methods.ended == ["cancelled"])


async def test_a_closed_connection_cancels_a_call_that_does_not_read(line: Line, methods: Methods) -> None:
    """The end of a connection is noticed also while its body waits to be read."""
    line.writer.write(head("/wait") + chunked(framed(bytes(MIB)))[:200_000])
    await methods.began.wait()
    (connection,) = methods.server.connections
    await eventually(lambda: not connection._is_reading)
    await line.close()
    await eventually(lambda: methods.ended == ["cancelled"])
    assert not methods.server.connections


async def test_a_body_that_is_cut_off_has_no_end(line: Line, methods: Methods) -> None:
    """A reader of a body whose connection closes never sees an end of it."""
    line.writer.write(head("/read_slowly") + b"5\r\n\0\0\0\0\0\r\n")
    methods.goes_on.set()
    await methods.began.wait()
    await line.close()
    await eventually(lambda: methods.ended == ["cut off"])


async def test_a_slow_handler_slows_the_caller(line: Line, methods: Methods) -> None:
    """What arrives before the handler asks for it is bounded, and all of it is read in the end."""
    line.writer.write(head("/read_slowly"))
    line.writer.write(chunked(*[framed(bytes(MIB))] * 8))
    await methods.began.wait()
    (connection,) = methods.server.connections
    await eventually(lambda: not connection._is_reading)
    assert connection._call is not None
    assert connection._call._messages.size <= 128 * 1024
    methods.goes_on.set()
    assert int(value((await line.answer()).messages[0])) == 8 * MIB


async def test_a_slow_caller_slows_the_handler(line: Line, methods: Methods) -> None:
    """A stream waits while its caller does not read, and then arrives completely."""
    line.writer.write(request("/stream"))  # and nothing reads more than the buffers of the test's own connection
    await eventually(lambda: any(not connection._can_write.is_set() for connection in methods.server.connections))
    assert methods.written < 4
    answer = await line.answer()
    assert (len(answer.messages), answer.grpc_status, answer.headers["x-kind"]) == (16, OK, "stream")


async def test_an_early_answer_does_not_reset_the_connection(line: Line) -> None:
    """The answer to half a request announces the end of the connection, and the other half may still arrive."""
    line.writer.write(head("/first") + b"8\r\n" + framed(b"one") + b"\r\n")
    answer = await line.answer()
    assert (value(answer.messages[0]), answer.headers["connection"]) == (b"one", "close")
    line.writer.write(chunked(*[framed(bytes(MIB))] * 4))
    await line.writer.drain()
    assert await line.is_closed()


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (TOO_LARGE, RESOURCE_EXHAUSTED),
        (framed(b"one")[:-1], INTERNAL),
        (framed(b"x", is_compressed=True), UNIMPLEMENTED),
    ],
    ids=["too large", "incomplete", "compressed"],
)
async def test_a_bad_message_ends_the_call(line: Line, body: bytes, status: int) -> None:
    """A message that is too large, incomplete or compressed in an unknown way ends the call with a status."""
    assert (await line.ask(head("/join") + chunked(body))).grpc_status == status


async def test_messages_may_be_compressed(line: Line) -> None:
    """A compressed message is taken, unless it becomes larger than others may be."""

    async def ask(message: bytes) -> tuple[int, bytes]:
        body = chunked(framed(message, is_compressed=True))
        answer = await line.ask(head("/join", "grpc-encoding: gzip") + body)
        return answer.grpc_status, value(answer.messages[0]) if answer.messages else b""

    assert await ask(gzip.compress(b"small")) == (OK, b"small")
    assert await ask(gzip.compress(bytes(25 * MIB), 1)) == (RESOURCE_EXHAUSTED, b"")
    assert await ask(b"no gzip") == (INTERNAL, b"")


async def test_a_deadline_ends_the_call(line: Line, methods: Methods) -> None:
    """A call ends at its deadline, and its handler is cancelled; the deadline of a finished call does nothing."""
    answer = await line.ask(request("/wait", headers=("grpc-timeout: 50m",)))
    assert answer.grpc_status == DEADLINE_EXCEEDED
    await eventually(lambda: methods.ended == ["cancelled"])
    await line.ask(request("/join", headers=("grpc-timeout: 1H",)))
    assert 3590 < (methods.seconds_left or 0) <= 3600
    await line.ask(request("/join", headers=("grpc-timeout: soon",)))
    assert methods.seconds_left is None


async def test_calls_have_a_limit(tmp_path: Path) -> None:
    """More calls at a time than are allowed are refused and counted, on connections that go on to serve."""
    counted: list[str] = []
    async with serving_http1(tmp_path, max_calls=1, limited=counted.append) as methods:
        first, second = await methods.line(), await methods.line()
        first.writer.write(request("/wait"))
        await methods.began.wait()
        assert (await second.ask(request("/join"))).grpc_status == RESOURCE_EXHAUSTED
        methods.goes_on.set()
        assert (await first.answer()).grpc_status == OK
    assert counted == ["transport"]


async def test_a_drain_waits_for_running_calls(line: Line, methods: Methods) -> None:
    """A call that runs ends as usual and announces the end of its connection; new connections are refused."""
    idle = await methods.line()
    await idle.ask(request("/join"))
    line.writer.write(request("/wait"))
    await methods.began.wait()
    stopping = asyncio.create_task(methods.server.stop(10))
    await eventually(lambda: methods.server.is_draining)
    with pytest.raises(ConnectionRefusedError):
        await methods.line()
    late = await idle.ask(request("/join", b"late"))
    assert (late.grpc_status, late.headers["connection"]) == (OK, "close")
    methods.goes_on.set()
    answer = await line.answer()
    assert (value(answer.messages[0]), answer.headers["connection"]) == (b"waited", "close")
    await stopping
    assert await line.is_closed()
    assert await idle.is_closed()


async def test_a_drain_waits_for_calls_that_begin_in_it(line: Line, methods: Methods) -> None:
    """A call that arrives while the last one before it ends has the rest of the grace."""
    other = await methods.line()
    await other.ask(request("/join"))
    line.writer.write(request("/wait"))
    await methods.began.wait()
    stopping = asyncio.create_task(methods.server.stop(10))
    await eventually(lambda: methods.server.is_draining)
    methods.began.clear()
    other.writer.write(request("/wait"))
    await methods.began.wait()
    await line.close()
    await eventually(lambda: methods.ended == ["cancelled"])
    methods.goes_on.set()
    assert (await other.answer()).grpc_status == OK
    await stopping
    assert methods.ended == ["cancelled", "answered"]


async def test_a_drain_has_an_end(line: Line, methods: Methods) -> None:
    """What still runs after the grace is cancelled, and its caller is told so."""
    line.writer.write(request("/wait"))
    await methods.began.wait()
    await methods.server.stop(0.01)
    assert (await line.answer()).grpc_status == CANCELLED
    assert methods.ended == ["cancelled"]
    assert await line.is_closed()


async def test_a_broken_response_has_no_end(line: Line) -> None:
    """A stream that is broken off ends with the connection, so that Envoy does not take it for complete."""
    line.writer.write(request("/break_off"))
    with pytest.raises(asyncio.IncompleteReadError):
        await line.answer()


async def test_an_error_of_a_handler_stays_inside(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the text of an exception nor a header that would be two reaches a caller; the log has both."""
    with caplog.at_level(logging.ERROR):
        failed = await line.ask(request("/fail"))
        injected = [await line.ask(request("/inject", headers=(name,))) for name in ("x-rest: 1", "x-native: 1")]
    assert {(answer.status, answer.grpc_status) for answer in (failed, *injected)} == {(200, UNKNOWN)}
    assert "secret" not in str(failed)
    assert "set-cookie" not in str(injected)
    assert "secret" in caplog.text
    assert (await line.ask(request("/too_large"))).grpc_status == RESOURCE_EXHAUSTED
    assert await is_usable(line)


async def test_an_answer_is_sent_once_it_is_read(methods: Methods) -> None:
    """The service knows when an answer has left, also because the connection was closed."""
    reading, leaving = await methods.line(), await methods.line()
    for line in (reading, leaving):
        line.reader._transport.pause_reading()  # type: ignore[attr-defined] # not even into its buffer
        line.writer.write(request("/large", b""))
    small = await methods.line()
    await small.ask(request("/join", b"a"))
    assert methods.ended == []
    reading.reader._transport.resume_reading()  # type: ignore[attr-defined]
    assert (await reading.answer()).grpc_status == OK
    await eventually(lambda: methods.ended == ["sent"])
    leaving.writer.transport.abort()
    await eventually(lambda: methods.ended == ["sent", "sent"])
