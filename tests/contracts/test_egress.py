"""The egress proxy between raw clients and real servers on loopback: what passes, and all that must not."""

import asyncio
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from pathlib import Path

import pytest

from berth.adapters.egress.addresses import Reach
from berth.adapters.egress.connector import LOOKUP_THREADS, Connector, Shared
from berth.adapters.egress.hosts import Target
from berth.adapters.egress.refusals import RefusedError
from support.certs.authority import Authority
from support.sandboxes.egress import LOOPBACK, proxied, server

LEFT_OUT = (b"proxy-authorization", b"keep-alive", b"te:", b"upgrade", b"x-named", b"proxy-connection", b"evil.example")


def get(target: str, *headers: str) -> bytes:
    """Return a request for a URL through the proxy."""
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: allowed.example", *headers, "", ""]).encode()


def tunnel(target: str) -> bytes:
    """Return the request for a tunnel."""
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode()


def status(answer: bytes) -> int:
    """Return the status of a response."""
    return int(answer.split(b" ", 2)[1])


async def test_a_request_is_written_anew(tmp_path: Path) -> None:
    """The server gets path, body and the host of the URL, and nothing that is for the proxy or the connection."""
    async with server() as one, proxied(tmp_path, ports=[one.port]) as proxy:
        answer = await proxy.ask(
            f"POST HTTP://Allowed.Example:{one.port}/a?b=%2F HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4\r\n"
            "Proxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
            "Upgrade: websocket\r\nConnection: upgrade, x-named, host, content-length\r\nX-Named: 1\r\n"
            "X-Kept: 2\r\n\r\n"
            "body".encode()
        )
    assert answer.endswith(b"\r\n\r\nhello")
    head, _, body = one.got[0].partition(b"\r\n\r\n")
    assert head.startswith(f"POST /a?b=%2F HTTP/1.1\r\nhost: allowed.example:{one.port}\r\n".encode())
    assert (body, b"x-kept: 2" in head.lower(), head.lower().count(b"connection: close")) == (b"body", True, 1)
    assert [name for name in LEFT_OUT if name in head.lower()] == []
    assert (proxy.session.counts.passed, proxy.refusals) == (1, [])


async def test_bodies_without_a_length_pass_in_both_directions(tmp_path: Path) -> None:
    """Chunks arrive as chunks; a response that ends with its connection is whole."""
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Trailer: 1\r\n\r\n"
    for given in (chunks, b"HTTP/1.0 200 OK\r\nConnection: x-gone\r\nX-Gone: 1\r\n\r\nhello"):
        async with server(given) as one, proxied(tmp_path, ports=[one.port]) as proxy:
            url = f"http://allowed.example:{one.port}/"
            answer = await proxy.ask(get(url, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n")
        assert one.got[0].endswith(b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        assert answer.endswith(b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
        assert b"x-gone" not in answer.lower()


async def test_one_connection_carries_one_request(tmp_path: Path) -> None:
    """A second request, to another host or hidden after the body, is not passed on."""
    async with server() as one, proxied(tmp_path, ports=[one.port]) as proxy:
        url = f"http://allowed.example:{one.port}/"
        answer = await proxy.ask(get(url, "Connection: keep-alive") + get("http://other.example/") + get(url))
    assert (answer.count(b"HTTP/1.1 200"), len(one.got), one.got[0].count(b"GET")) == (1, 1, 1)
    assert b"connection: close" in answer


async def test_tls_passes_through_a_tunnel(tmp_path: Path) -> None:
    """A client verifies the server's certificate itself; the proxy only passes on bytes."""
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(200_000))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, LOOPBACK, 0, ssl=context) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with proxied(tmp_path, ports=[port]) as proxy:
            reader, writer = await proxy.connect()
            writer.write(tunnel(f"allowed.example:{port}"))
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
            await writer.start_tls(authority.trusting(tmp_path), server_hostname="localhost")
            writer.write(bytes(200_000))
            assert await reader.read(-1) == bytes(200_000)
            writer.close()
    assert proxy.session.counts.bytes > 400_000


NOT_ALLOWED = (
    "other.example", "evil-allowed.example", "sub.allowed.example", "allowed.example.evil.example", "127.0.0.1",
    "127.0.0.2", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1",
    "017700000001", "127.1", "0", "169.254.169.254", "xn--llowed-cua.example", "allowed.example..",
)  # fmt: skip


@pytest.mark.parametrize("host", NOT_ALLOWED)
async def test_another_host_is_refused_and_never_looked_up(host: str, tmp_path: Path) -> None:
    """The answer is 403 with a line that says why, and the name is among the refusals."""
    async with server() as one, proxied(tmp_path, ports=[one.port]) as proxy:
        for request in (get(f"http://{host}:{one.port}/"), tunnel(f"{host}:{one.port}")):
            answer = await proxy.ask(request)
            assert status(answer) == 403
            assert answer.endswith(b"it is not one of the allowed domains of the container.\n")
    assert (proxy.refusals, proxy.looked_up, one.got) == ([f"{host}:{one.port}"], [], [])
    assert (proxy.session.counts.refused, proxy.session.counts.passed) == (2, 0)


PRIVATE = ("127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254")


@pytest.mark.parametrize("address", PRIVATE)
async def test_an_allowed_name_is_no_way_to_a_private_address(address: str, tmp_path: Path) -> None:
    """If an allowed name leads there, or the allowlist has the address itself, it is refused all the same."""
    async with server() as one:
        names = {"allowed.example": [address]}
        domains = ["allowed.example", address]
        async with proxied(tmp_path, ports=[one.port], domains=domains, opened=[], names=names) as proxy:
            literal = f"[{address}]" if ":" in address else address
            for host in ("allowed.example", "ALLOWED.example.", literal):
                answer = await proxy.ask(tunnel(f"{host}:{one.port}"))
                assert answer.endswith(b"it has no public address.\n")
    assert (len(proxy.refusals), one.got) == (3, [])


async def test_the_address_that_was_checked_is_the_one_that_is_used(tmp_path: Path) -> None:
    """A name that leads elsewhere the next time is refused then; private addresses beside public ones are left out."""
    names = {"allowed.example": ["10.0.0.1", LOOPBACK, "169.254.169.254"]}
    async with server() as one, proxied(tmp_path, ports=[one.port], names=names) as proxy:
        url = f"http://allowed.example:{one.port}/"
        assert status(await proxy.ask(get(url))) == 200
        assert proxy.looked_up == ["allowed.example"]
        names["allowed.example"] = ["169.254.169.254"]
        assert status(await proxy.ask(get(url))) == 403
    assert (len(proxy.looked_up), len(one.got)) == (2, 1)


class Public(Reach):
    """Takes every address for a public one."""

    def allows(self, text: str) -> bool:
        """Return True; see Reach."""
        return bool(text)


async def test_a_public_address_of_this_machine_is_refused(tmp_path: Path) -> None:
    """The server gets not a byte of what comes from the machine itself, unless the configuration opens the address."""
    async with server() as one:
        url = f"http://allowed.example:{one.port}/"
        async with proxied(tmp_path, ports=[one.port], reach=Public()) as proxy:
            answer = await proxy.ask(get(url))
        assert answer.endswith(b"it is the machine that runs the command.\n")
        async with proxied(tmp_path, ports=[one.port], reach=Public([ip_network("127.0.0.0/8")])) as proxy:
            assert status(await proxy.ask(get(url))) == 200
    assert one.got[0] == b""


async def test_only_open_ports_are_reached(tmp_path: Path) -> None:
    """Another port of an allowed host is refused, before its name is looked up."""
    async with server() as one, proxied(tmp_path) as proxy:
        assert status(await proxy.ask(tunnel(f"allowed.example:{one.port}"))) == 403
        assert status(await proxy.ask(tunnel("allowed.example:22"))) == 403
    assert (proxy.refusals, proxy.looked_up) == ([f"allowed.example:{one.port}", "allowed.example:22"], [])


MALFORMED = {
    "a path alone": b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
    "https without a tunnel": get("https://allowed.example/"),
    "a user": get("http://allowed.example@evil.example/"),
    "a user before an allowed host": get("http://evil.example:80@allowed.example/"),
    "a backslash": get("http://evil.example\\@allowed.example/"),
    "a fragment": get("http://evil.example#@allowed.example/"),
    "an escaped host": get("http://allowed%2eexample/"),
    "no host": get("http:///x"),
    "a port of too many digits": get("http://allowed.example:000080/"),
    "a tunnel without a port": tunnel("allowed.example"),
    "a tunnel to a URL": tunnel("http://allowed.example/"),
    "a tunnel with a user": tunnel("u@allowed.example:443"),
    "a tunnel with a body": b"CONNECT allowed.example:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "two lengths": get("http://allowed.example/", "Content-Length: 1", "Content-Length: 2") + b"x",
    "a length and chunks": get("http://allowed.example/", "Content-Length: 5", "Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "chunks in HTTP/1.0": b"POST http://allowed.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a signed length": get("http://allowed.example/", "Content-Length: +1") + b"x",
    "a space before the colon": get("http://allowed.example/", "Content-Length : 1") + b"x",
    "a continued line": get("http://allowed.example/", "X-A: 1", " Host: evil.example"),
    "a bare line feed": get("http://allowed.example/", "X-A: 1\nX-B: 2"),
    "a bare carriage return": get("http://allowed.example/", "X-A: 1\rX-B: 2"),
    "a NUL": get("http://allowed.example/", "X-A: \0"),
    "two hosts": get("http://allowed.example/", "Host: evil.example"),
    "no HTTP": b"\x16\x03\x01\r\n\r\n",
    "another version": b"GET http://allowed.example/ HTTP/2.0\r\nHost: a\r\n\r\n",
    "an empty line first": b"\r\n" + get("http://allowed.example/"),
}


@pytest.mark.parametrize("what", MALFORMED)
async def test_what_can_be_read_in_two_ways_is_refused(what: str, tmp_path: Path) -> None:
    """A malformed or ambiguous request is answered with 400, and no connection is made for it."""
    async with proxied(tmp_path) as proxy:
        assert status(await proxy.ask(MALFORMED[what])) == 400
    assert (proxy.looked_up, proxy.session.counts.passed, proxy.session.counts.failed) == ([], 0, 1)


@pytest.mark.parametrize("coding", ["gzip, chunked", "chunked, chunked", "identity"])
async def test_other_codings_are_refused(coding: str, tmp_path: Path) -> None:
    """Of transfer codings, only `chunked` tells where a body ends."""
    async with proxied(tmp_path) as proxy:
        answer = await proxy.ask(get("http://allowed.example/", f"Transfer-Encoding: {coding}") + b"0\r\n\r\n")
    assert (status(answer), proxy.looked_up) == (400, [])


@pytest.mark.parametrize("body", [b"zz\r\nabc\r\n0\r\n\r\n", b"3\r\nabcdef\r\n0\r\n\r\n", b"-1\r\n\r\n"])
async def test_broken_chunks_are_not_passed_on(body: bytes, tmp_path: Path) -> None:
    """A body that breaks the rules ends the exchange with 400; the server never sees its end."""
    async with server() as one, proxied(tmp_path, ports=[one.port]) as proxy:
        answer = await proxy.ask(get(f"http://allowed.example:{one.port}/", "Transfer-Encoding: chunked") + body)
    assert status(answer) == 400
    assert not one.got[0].endswith(b"0\r\n\r\n")


@pytest.mark.parametrize(
    "head",
    [b"GET http://allowed.example/" + b"a" * 40_000, b"GET http://allowed.example/ HTTP/1.1\r\n" + b"A: b\r\n" * 200],
)
async def test_a_head_is_bounded(head: bytes, tmp_path: Path) -> None:
    """A head of more than 32 KiB or 128 lines is answered with 431."""
    async with proxied(tmp_path) as proxy:
        assert status(await proxy.ask(head + b"\r\n\r\n")) == 431


async def test_a_head_has_to_arrive(tmp_path: Path) -> None:
    """A client that sends a byte now and then gets a 408 after the time for the head."""
    async with proxied(tmp_path, head_seconds=0.3) as proxy:
        reader, writer = await proxy.connect()
        for letter in b"GET http://":
            writer.write(bytes([letter]))
        assert status(await reader.read()) == 408
        writer.close()


async def test_silence_ends_a_connection(tmp_path: Path) -> None:
    """A server that never answers is a 504, and a tunnel without traffic is closed."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, LOOPBACK, 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        async with proxied(tmp_path, ports=[port], idle_seconds=0.2) as proxy:
            assert status(await proxy.ask(get(f"http://allowed.example:{port}/"))) == 504
            assert (await proxy.ask(tunnel(f"allowed.example:{port}"))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", 502),
        (b"not HTTP at all\r\n\r\n", 502),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 502),
        (b"HTTP/1.1 200 OK\r\nA: " + b"b" * 40_000, 502),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 100),
    ],
)
async def test_a_server_that_breaks_the_rules_is_a_502(answer: bytes, expected: int, tmp_path: Path) -> None:
    """The client gets no part of an answer that is none; interim answers pass."""
    async with server(answer) as one, proxied(tmp_path, ports=[one.port]) as proxy:
        assert status(await proxy.ask(get(f"http://allowed.example:{one.port}/"))) == expected


async def test_a_server_that_is_not_there_is_a_502(tmp_path: Path) -> None:
    """A name that cannot be resolved and a port that nothing listens on are failures, not refusals."""
    async with server() as one:
        port = one.port
    async with proxied(tmp_path, ports=[port], domains=["allowed.example", "unknown.example"]) as proxy:
        for host in ("allowed.example", "unknown.example"):
            assert status(await proxy.ask(tunnel(f"{host}:{port}"))) == 502
    assert (proxy.refusals, proxy.session.counts.failed) == ([], 2)


async def test_the_bytes_of_a_command_are_bounded(tmp_path: Path) -> None:
    """A response beyond the limit is cut off, and after that nothing is passed on."""
    large = b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000)
    async with server(large) as one, proxied(tmp_path, ports=[one.port], max_bytes=100_000) as proxy:
        url = f"http://allowed.example:{one.port}/"
        assert 0 < len(await proxy.ask(get(url))) < 200_000
        answer = await proxy.ask(get(url))
    assert (status(answer), b"used up its 100000 bytes" in answer) == (403, True)
    assert proxy.refusals == [f"allowed.example:{one.port}"]


async def test_refusals_are_bounded(tmp_path: Path) -> None:
    """Each host is named once, 100 at most; all are counted. A long answer for each of them is none."""
    async with proxied(tmp_path) as proxy:
        answers = await asyncio.gather(*(proxy.ask(tunnel(f"h{number % 110}.example:443")) for number in range(130)))
    assert {status(answer) for answer in answers} == {403}
    assert (len(proxy.refusals), len(set(proxy.refusals)), proxy.session.counts.refused) == (100, 100, 130)
    assert max(map(len, answers)) < 300


async def test_connections_are_bounded(tmp_path: Path) -> None:
    """Beyond 64 at a time, a connection of a command waits for another one to end."""
    async with server() as one, proxied(tmp_path, ports=[one.port]) as proxy:
        idle = [await proxy.connect() for _ in range(64)]
        asking = asyncio.create_task(proxy.ask(get(f"http://allowed.example:{one.port}/")))
        done, _ = await asyncio.wait([asking], timeout=0.1)
        assert not done
        idle[0][1].close()
        assert status(await asking) == 200
        for _, writer in idle:
            writer.close()


async def test_all_commands_together_are_bounded(tmp_path: Path) -> None:
    """If all connections of the proxy are in use, a further one is a 503."""
    async with server() as one, proxied(tmp_path, ports=[one.port], connections=asyncio.Semaphore(0)) as proxy:
        assert status(await proxy.ask(get(f"http://allowed.example:{one.port}/"))) == 503


async def test_all_commands_of_a_tenant_are_bounded(tmp_path: Path) -> None:
    """If a tenant has as many connections as it may, a further one of the tenant is a 503."""
    shared = Shared(connections=asyncio.Semaphore(0))
    async with server() as one, proxied(tmp_path, ports=[one.port], shared=shared) as proxy:
        assert status(await proxy.ask(get(f"http://allowed.example:{one.port}/"))) == 503


async def test_names_that_are_looked_up_for_ever_stop_no_other_command() -> None:
    """The names of 100 commands that lead to silent servers leave threads for those of another tenant's command."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(LOOKUP_THREADS))
    over = threading.Event()

    def look_up(host: str, _: int) -> list[str]:
        if host == "silent.test":
            over.wait(20)
        return ["127.0.0.1"]

    def connector(shared: Shared) -> Connector:
        domains = ["silent.test", "quick.test"]
        return Connector(domains, ports=frozenset({80}), reach=Reach(), look_up=look_up, shared=shared)

    ours = Shared()
    silent = [one.connect(Target("silent.test", 80)) for one in [connector(ours) for _ in range(100)] for _ in range(4)]
    waiting = [asyncio.create_task(one) for one in silent]
    try:
        await asyncio.sleep(0)
        async with asyncio.timeout(15):
            with pytest.raises(RefusedError, match="no public address"):
                await connector(Shared()).connect(Target("quick.test", 80))
    finally:
        over.set()
        await asyncio.gather(*waiting, return_exceptions=True)
