"""The fault matrix: whatever a provider does wrong, the caller gets one decided answer, in time, and nothing twice."""

import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import pytest
import trustme

from berth.adapters.upstream.settings import UpstreamKey
from berth.core.errors import BerthError, StorageError
from berth.rpc.status import refusal
from support.fakes.stores import MemoryStore
from support.providers.before import CALLS, KEY, ONCE, at_once, before, ending
from support.providers.faults import CONTAINER, FAULTS, GOOD, LOST, TOO_MANY, WRONG_KEY
from support.providers.raw import Behaviour, answer, flood, hang, head, misbehaving, refusing, reset

MEBIBYTE = 1024 * 1024
SLACK_SECONDS = 10.0
"""How much longer a call may take on a busy machine; what has no end would take for ever."""

every_call = pytest.mark.parametrize("call", CALLS)


@every_call
@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault(name: str, call: str) -> None:
    """The provider gets the calls stated, the caller the end stated, and soon enough; no container is made twice."""
    fault = FAULTS[name]
    expected = getattr(fault, call)
    began = monotonic()
    kept = _kept(call)
    async with (
        misbehaving(*fault.script) as server,
        before(server.url, kept=kept, timeout_seconds=fault.timeout_seconds, sleep=at_once) as at,
    ):
        end = await ending(CALLS[call](at.backend))
        took = monotonic() - began
        assert (len(server.calls), end.status, end.code) == expected, end
        assert server.creates <= 1
    assert took < fault.timeout_seconds + SLACK_SECONDS
    assert KEY not in f"{end.message} {at.log.entries}"
    assert "<" not in end.message
    assert end.retry_after is not None if end.status == 429 else True


@every_call
async def test_refused(call: str) -> None:
    """A provider that nobody listens for is tried again whatever the call is, and is a 503."""
    with refusing() as url:
        async with before(url) as at:
            end = await ending(CALLS[call](at.backend))
    assert (end.status, end.code) == (503, LOST)


@every_call
@pytest.mark.parametrize("wrong", ["authority", "unknown authority", "name"])
async def test_a_certificate_that_is_wrong(wrong: str, call: str) -> None:
    """To a server with a certificate of nobody, or of somebody else, no request is ever sent."""
    authority = trustme.CA()
    authorities = None if wrong == "unknown authority" else authority.cert_pem.bytes().decode()
    other = trustme.CA() if wrong == "authority" else authority
    names = ("127.0.0.1",) if wrong == "authority" else ("elsewhere.example",)
    async with misbehaving(GOOD, tls=_tls(other, *names)) as server, before(server.url, authorities=authorities) as at:
        end = await ending(CALLS[call](at.backend))
        assert (len(server.calls), end.status, end.code) == (0, 503, LOST)


@every_call
async def test_a_certificate_of_an_own_authority(call: str) -> None:
    """With its authority in `authorities` a server is as good as any."""
    authority = trustme.CA()
    authorities = authority.cert_pem.bytes().decode()
    async with (
        misbehaving(GOOD, tls=_tls(authority, "127.0.0.1")) as server,
        before(server.url, kept=_kept(call), authorities=authorities) as at,
    ):
        assert (await ending(CALLS[call](at.backend))).status == 200


def _tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


@every_call
async def test_a_kept_connection_that_breaks(call: str) -> None:
    """A connection that was good for one call may break in the next: that one is tried again, but not to create."""
    async with misbehaving(GOOD, reset(), GOOD) as server, before(server.url) as at:
        await CALLS["get"](at.backend)
        end = await ending(CALLS[call](at.backend))
        assert len(server.calls) == (2 if call == "create" else 3)
        assert (end.status, end.code) == ((503, LOST) if call == "create" else (200, None))


@every_call
async def test_the_answer_after_a_wait(call: str) -> None:
    """A provider that asks for a second gets it, and then the call again."""
    began = monotonic()
    script = answer(429, TOO_MANY, retry_after="1"), GOOD
    async with misbehaving(*script) as server, before(server.url, kept=_kept(call)) as at:
        assert (await ending(CALLS[call](at.backend))).status == 200
        assert (len(server.calls), server.creates) == (2, int(call == "create"))
    assert 1.0 <= monotonic() - began < 1.0 + SLACK_SECONDS


async def test_a_deletion_whose_answer_is_lost() -> None:
    """A container that the first try deleted and the second does not find is deleted, and no 404."""
    absent = {"error": {"message": "No such container.", "type": "invalid_request_error", "param": None, "code": None}}
    async with misbehaving(reset(), answer(404, absent)) as server, before(server.url, sleep=at_once) as at:
        assert (await ending(CALLS["delete"](at.backend))).status == 200
        assert (await ending(CALLS["get"](at.backend))).status == 404
        assert len(server.calls) == 2


async def test_a_minute_is_not_waited_for() -> None:
    """Who must wait longer than the call may take is told for how long."""
    async with misbehaving(answer(429, TOO_MANY, retry_after="60")) as server, before(server.url) as at:
        end = await ending(CALLS["get"](at.backend))
    assert (end.status, end.retry_after, len(server.calls)) == (429, 60, 1)


async def test_another_key_when_one_is_used_up() -> None:
    """A create that one key has no room for goes to the next, at once."""
    keys = (ONCE, UpstreamKey("spare", "sk-spare"))
    async with misbehaving(answer(429, TOO_MANY), GOOD) as server, before(server.url, kept=None, keys=keys) as at:
        assert (await ending(CALLS["create"](at.backend))).status == 200
        assert len({call.headers["authorization"] for call in server.calls}) == 2


async def test_a_key_that_is_refused_is_put_aside() -> None:
    """A refused key is not asked with again for a minute, the next one takes its place, and the log says so."""
    keys = (ONCE, UpstreamKey("spare", "sk-spare"))
    script = answer(401, WRONG_KEY), GOOD, answer(200, CONTAINER | {"id": "cntr_2"}), answer(401, WRONG_KEY)
    async with misbehaving(*script) as server, before(server.url, kept=None, keys=keys) as at:
        for _ in range(2):
            assert (await ending(CALLS["create"](at.backend))).status == 200
        refused, used, again = (call.headers["authorization"] for call in server.calls)
        assert (used == again, refused == used) == (True, False)
        (line,) = [entry for entry in at.log.entries if entry["event"] == "upstream.key_put_aside"]
        assert line["key"] == ("main" if refused.endswith(KEY) else "spare")
        for _ in range(2):
            end = await ending(CALLS["create"](at.backend))
            assert (end.status, end.code) == (503, "upstream_credentials_exhausted")
        assert len(server.calls) == 4
        at.clock.advance(61)
        await ending(CALLS["create"](at.backend))
        assert len(server.calls) > 4


async def test_a_flood_is_not_drunk() -> None:
    """Of an answer without end no more is read than answers may have."""
    pids_before = _resident_mebibytes()
    async with (
        misbehaving(flood(head(200, connection="close") + b"{")) as server,
        before(server.url, max_answer_bytes=MEBIBYTE) as at,
    ):
        assert (await ending(CALLS["get"](at.backend))).status == 503
    assert _resident_mebibytes() - pids_before < 32


def _resident_mebibytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError


class FullStore(MemoryStore):
    """A store that takes no more."""

    async def add_container(self, *_: object, **__: object) -> None:
        """Refuse."""
        raise StorageError("The disk is full.")


async def test_a_row_that_cannot_be_written() -> None:
    """A container that nobody could ever find again is deleted at the provider."""
    async with misbehaving(GOOD) as server, before(server.url, kept=None, store=FullStore()) as at:
        end = await ending(CALLS["create"](at.backend))
        assert (end.status, end.code) == (503, "storage_unavailable")
        assert [(call.method, call.path) for call in server.calls] == [
            ("POST", "/containers"),
            ("DELETE", "/containers/cntr_1"),
        ]


async def test_an_id_that_is_known_already() -> None:
    """A provider that gives a second container the id of a first one does not get the first deleted."""
    async with misbehaving(GOOD) as server, before(server.url) as at:
        assert (await ending(CALLS["create"](at.backend))).status == 503
        assert (await ending(CALLS["get"](at.backend))).status == 200
        assert [call.method for call in server.calls] == ["POST", "GET"]


def _kept(call: str) -> str | None:
    return None if call == "create" else "cntr_1"


@every_call
@pytest.mark.parametrize("fault", [reset, hang])
async def test_what_may_have_been_done_is_not_to_be_repeated(fault: Callable[[], Behaviour], call: str) -> None:
    """A create whose fate nobody knows asks SDKs, which repeat a 503 and a 504, not to; a read or delete does not."""
    async with misbehaving(fault()) as server, before(server.url, kept=_kept(call), timeout_seconds=0.5) as at:
        with pytest.raises(BerthError) as caught:
            await CALLS[call](at.backend)
    told = refusal(caught.value, request_id="", request_type="", provider=None)
    assert (("x-should-retry", "false") in told.headers) == (call == "create")


async def test_what_was_not_sent_may_be_repeated() -> None:
    """A create that never got to the provider is as good as new."""
    with refusing() as url:
        async with before(url) as at:
            with pytest.raises(BerthError) as caught:
                await CALLS["create"](at.backend)
    assert refusal(caught.value, request_id="", request_type="", provider=None).headers == ()
