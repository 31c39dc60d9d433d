"""Limits as REST clients see them: headers on every answer, and refusals that SDKs understand."""

from collections.abc import Iterator

import httpx2
import pytest
from openai import OpenAI, RateLimitError

from support.clients.envelope import expect
from support.servers.berth import Berth, running

PER_MINUTE = 6
KEYS = [
    {"name": name, "value": f"sk-bf-{name}", "tenant": "a", "requests_per_minute": PER_MINUTE}
    for name in ("headers", "errors", "uploads", "sdk")
]


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    settings = {"auth": {"virtual_keys": KEYS}, "default_provider": "ollama"}
    with running(tmp_path_factory.mktemp("limits"), settings) as berth:
        yield berth


def client(berth: Berth, name: str) -> httpx2.Client:
    return httpx2.Client(base_url=f"{berth.rest}/v1", headers={"x-bf-vk": f"sk-bf-{name}"}, timeout=30)


def left(response: httpx2.Response) -> int:
    """Return what an answer says is left; the other two headers must stand beside it."""
    assert response.headers["x-ratelimit-limit-requests"] == str(PER_MINUTE)
    assert 30 <= int(response.headers["x-ratelimit-reset-requests"].removesuffix("s")) <= 60  # a busy machine is slow
    return int(response.headers["x-ratelimit-remaining-requests"])


def test_every_answer_tells_what_is_left(berth: Berth) -> None:
    """Answers, errors, and the refusal in the end; the headers of Berth's own stand beside."""
    with client(berth, "headers") as limited:
        made = limited.post("/containers", json={"name": "x"})
        assert (made.status_code, left(made)) == (200, PER_MINUTE - 1)
        assert made.headers["x-bifrost-provider"] == "ollama"
        gone = limited.get("/containers/absent")
        assert (gone.status_code, left(gone)) == (404, PER_MINUTE - 2)
        assert [left(limited.get("/containers")) for _ in range(PER_MINUTE - 2)] == [3, 2, 1, 0]
        refusal = limited.get("/containers")
        expect(refusal, 429, None, "rate_limited")
        assert left(refusal) == 0
        assert 1 <= int(refusal.headers["retry-after"]) <= 60


def test_transfers_tell_it_too(berth: Berth) -> None:
    """An upload, and a download, whose headers come before its bytes."""
    with client(berth, "uploads") as limited:
        container = limited.post("/containers", json={"name": "x"}).json()["id"]
        upload = limited.post(f"/containers/{container}/files?filename=a", content=b"hello")
        assert left(upload) == PER_MINUTE - 2
        download = limited.get(f"/containers/{container}/files/{upload.json()['id']}/content")
        assert (download.content, left(download)) == (b"hello", PER_MINUTE - 3)


def test_refusals_reach_the_sdk(berth: Berth) -> None:
    """The official SDK raises its RateLimitError, with the code, the type and the time to wait."""
    sdk = OpenAI(base_url=f"{berth.rest}/v1", api_key="sk-bf-sdk", max_retries=0)
    for _ in range(PER_MINUTE):
        sdk.containers.list()
    with pytest.raises(RateLimitError) as caught:
        sdk.containers.list()
    assert (caught.value.code, caught.value.type) == ("rate_limited", "rate_limited")
    assert "the limit of this key is 6 per minute" in caught.value.message
    assert int(caught.value.response.headers["retry-after"]) >= 1


def test_a_refused_upload_is_not_read(berth: Berth) -> None:
    """Who is over the limit gets the refusal while most of the upload is still to come."""
    with client(berth, "errors") as limited:
        container = limited.post("/containers", json={"name": "x"}).json()["id"]
        for _ in range(PER_MINUTE - 1):
            limited.get("/containers")
        sent = 0

        def body() -> Iterator[bytes]:
            nonlocal sent
            for _ in range(4096):
                sent += 65_536
                yield b"x" * 65_536

        expect(limited.post(f"/containers/{container}/files?filename=a", content=body()), 429, None, "rate_limited")
        assert sent < 64 * 1024 * 1024
