"""Answers in very many small pieces, or with values without bounds: they cost the calls of others nothing."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from statistics import median

import httpx2
import pytest

from berth.adapters.upstream.http.pacing import MAX_INTERIM_RESPONSES
from support.providers.before import CALLS, before, ending
from support.providers.faults import CONTAINER, DELETED, FAILED, GOOD, TEXT
from support.providers.raw import Behaviour, Exchange, answer, flood, head, misbehaving, stream
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth, running
from support.servers.chain import passing_to

CALLS_OF_OTHERS, CALLS_BEFORE = 60, 20
USUAL_SECONDS, TIMES_SLOWER = 0.06, 10
"""Half of the calls of others take less, or no more than so many times what they take on this machine without a flood;
without a bound, it was 0.06 to 1.4 s."""
AUTHORIZATION = {"authorization": f"Bearer {KEY_A}"}
SETTINGS = {"auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]}, "default_provider": "openai"}
CHUNKED, CHUNK = head(200, transfer_encoding="chunked"), b"1\r\n \r\n"
INTERIM, UNASKED = b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
FLOODS = {
    "interim responses": flood(b"", INTERIM * 2500),
    "chunks of one byte": flood(CHUNKED, CHUNK * 10_000),
    "responses that nobody asked for": flood(head(200, content_length="2") + b"{}", UNASKED * 1500),
}


@pytest.fixture(scope="module")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Behaviour], Berth]]:
    """Run a Berth in front of a provider that does what the list says, with a container there."""
    script: list[Behaviour] = [answer(200, CONTAINER)]

    async def behave(exchange: Exchange) -> None:
        await script[0](exchange)

    with in_background(misbehaving(behave)) as provider:
        providers = {"openai": passing_to(f"{provider.url}/v1", "sk-up", max_retries=0)}
        with running(tmp_path_factory.mktemp("flooded"), SETTINGS | {"providers": providers}) as berth:
            httpx2.post(
                f"{berth.rest}/v1/containers", json={"name": "x"}, headers=AUTHORIZATION, timeout=30
            ).raise_for_status()
            yield script, berth


@pytest.mark.parametrize("path", ["", "/files/cfile_1/content"], ids=["answer", "download"])
@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_on_one_call(flooded: tuple[list[Behaviour], Berth], name: str, path: str) -> None:
    """While a provider floods one call, until that ends, half of the calls of others take as long as usual."""
    script, berth = flooded
    with httpx2.Client(base_url=berth.rest, headers=AUTHORIZATION, timeout=30) as client:
        without = median(_timed(client) for _ in range(CALLS_BEFORE))
    script[:] = [FLOODS[name]]
    ended = threading.Event()
    thread = threading.Thread(target=_read, args=(f"{berth.rest}/v1/containers/cntr_1{path}", ended))
    thread.start()
    with httpx2.Client(base_url=berth.rest, headers=AUTHORIZATION, timeout=30) as client:
        seconds = [_timed(client)]
        while thread.is_alive() and len(seconds) < CALLS_OF_OTHERS:
            seconds.append(_timed(client))
    ended.set()
    thread.join()
    assert median(seconds) < max(USUAL_SECONDS, TIMES_SLOWER * without), (without, sorted(seconds))


def _read(url: str, ended: threading.Event) -> None:
    """Read an answer until it or the test ends."""
    with suppress(httpx2.TransportError), httpx2.stream("GET", url, headers=AUTHORIZATION, timeout=2.5) as response:
        for _ in response.iter_raw():
            if ended.is_set():
                return


def _timed(client: httpx2.Client) -> float:
    began = time.monotonic()
    client.get("/v1/containers").raise_for_status()
    return time.monotonic() - began


@pytest.mark.parametrize(("length", "status"), [(512, 200), (513, 503), (200_000, 503), (2_000_000, 503)])
def test_an_id_that_is_too_long(flooded: tuple[list[Behaviour], Berth], length: int, status: int) -> None:
    """A container with an id of at most 512 bytes can be used; one with a longer id is a bad answer, and not listed."""
    script, berth = flooded
    name = "x" * length
    with httpx2.Client(base_url=berth.rest, headers=AUTHORIZATION, timeout=30) as client:
        script[:] = [answer(200, CONTAINER | {"id": name})]
        assert client.post("/v1/containers", json={"name": "x"}).status_code == status
        ids = {container["id"] for container in client.get("/v1/containers?limit=100").json()["data"]}
        assert ids == {"cntr_1", name} if status == 200 else {"cntr_1"}
        if status == 200:
            assert client.get(f"/v1/containers/{name}").json()["id"] == name
            script[:] = [answer(200, DELETED | {"id": name})]
            assert client.delete(f"/v1/containers/{name}").json()["deleted"] is True


@pytest.mark.parametrize("number", [b"9" * 20, b"9" * 5000], ids=["20 digits", "5000 digits"])
def test_numbers_without_bounds_are_no_error(flooded: tuple[list[Behaviour], Berth], number: bytes) -> None:
    """A Retry-After and an x-content-length of a provider with any number of digits, and a type that is no text."""
    script, berth = flooded
    paths = {"/v1/containers/cntr_1": TEXT, "/v1/containers/cntr_1/files/cfile_1/content": b"{}"}
    with httpx2.Client(base_url=berth.rest, headers=AUTHORIZATION, timeout=30) as client:
        for path, body in paths.items():
            for status, header in (
                (429, b"Retry-After: " + number),
                (503, b"Retry-After: " + number),
                (200, b"x-content-length: " + number),
                (200, b"Content-Type: text/\xff"),
            ):
                start = b"HTTP/1.1 %d X\r\n%s\r\nContent-Length: %d\r\n\r\n" % (status, header, len(body))
                script[:] = [stream(start + body)]
                assert client.get(path).status_code == status, header


@pytest.mark.parametrize(("count", "status"), [(MAX_INTERIM_RESPONSES, 200), (MAX_INTERIM_RESPONSES + 1, 503)])
async def test_interim_responses_are_bounded(count: int, status: int) -> None:
    """A hundred interim responses may come before a response; one more is a bad answer of the provider."""
    assert MAX_INTERIM_RESPONSES == 100
    last = head(200, content_length=str(len(TEXT))) + TEXT
    async with misbehaving(stream(INTERIM * count + last)) as server, before(server.url) as at:
        for _ in range(2):  # each call on the same connection may have as many
            end = await ending(CALLS["get"](at.backend))
            assert (end.status, end.code) == (status, None if status == 200 else FAILED)


async def test_a_response_that_nobody_asked_for_is_not_used() -> None:
    """A second response to one request does not become the answer to the next one."""
    stray = head(200, content_length="2") + b"{}"
    script = stream(head(200, content_length=str(len(TEXT))) + TEXT + stray), GOOD
    async with misbehaving(*script) as server, before(server.url) as at:
        for _ in range(2):
            assert (await ending(CALLS["get"](at.backend))).status == 200
        assert len(server.calls) == 2


async def test_small_chunks_arrive_whole() -> None:
    """A body in many chunks of one byte, more than are read without a pause, arrives as it was sent."""
    body = TEXT.rstrip(b"}") + b', "extra": "%s"}' % (b"0123456789" * 2000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    async with misbehaving(stream(CHUNKED + chunks + b"0\r\n\r\n")) as server, before(server.url) as at:
        async with asyncio.timeout(30):
            assert (await ending(CALLS["get"](at.backend))).status == 200
        assert (await ending(CALLS["get"](at.backend))).status == 200
        assert server.connected == 1
