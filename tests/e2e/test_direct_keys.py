"""A caller's own key of a provider: it goes there as it is, makes a tenant, and is kept nowhere."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import openai
import pytest
from openai import OpenAI

from support.measuring.leaks import leaks
from support.providers.raw import Misbehaving, misbehaving
from support.providers.small import WRONG, small_provider
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth, running
from support.servers.chain import passing_to

CONFIGURED = "sk-configured"
AUTH = {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]}


@dataclass(frozen=True)
class Place:
    """A Berth before a provider, and the folder of its data and its log."""

    berth: Berth
    provider: Misbehaving
    folder: Path

    def client(self, key: str) -> OpenAI:
        """Return a client of OpenAI's with a key."""
        return OpenAI(base_url=f"{self.berth.rest}/openai/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("direct")
    with in_background(misbehaving(small_provider())) as provider:
        providers = {"openai": passing_to(f"{provider.url}/v1", CONFIGURED)}
        with running(folder, {"providers": providers, "auth": AUTH}) as berth:
            yield Place(berth, provider, folder)


def test_it_goes_upstream_as_given(place: Place) -> None:
    """With it a caller creates, retrieves, lists and deletes, and the provider sees that key and no other."""
    before = len(place.provider.calls)
    with place.client("sk-proj-one") as client:
        made = client.containers.create(name="mine")
        assert client.containers.retrieve(made.id).id == made.id
        assert [item.id for item in client.containers.list()] == [made.id]
        client.containers.delete(made.id)
        assert list(client.containers.list()) == []
    calls = place.provider.calls[before:]
    assert [call.method for call in calls] == ["POST", "GET", "GET", "DELETE", "GET"]
    assert {call.headers["authorization"] for call in calls} == {"Bearer sk-proj-one"}


@pytest.mark.parametrize("header", ["x-api-key", "api-key", "x-goog-api-key"])
def test_the_headers_of_other_clients(place: Place, header: str) -> None:
    """A key in any of the headers for keys counts, and goes upstream in the provider's own."""
    with httpx2.Client(base_url=place.berth.rest, headers={header: "sk-proj-other"}, timeout=30) as client:
        assert client.post("/openai/v1/containers", json={"name": "mine"}).status_code == 200
    sent = place.provider.calls[-1].headers
    assert sent["authorization"] == "Bearer sk-proj-other"
    assert header not in sent


def test_a_virtual_key_uses_the_configured_one(place: Place) -> None:
    """Who has a virtual key never needs the provider's, and never sends his own there."""
    with place.client(KEY_A) as client:
        client.containers.create(name="ours")
    assert place.provider.calls[-1].headers["authorization"] == f"Bearer {CONFIGURED}"


def test_each_key_is_a_tenant(place: Place) -> None:
    """What is made with a key is no other's: its provider says so of other keys, and Berth of the shared one."""
    with place.client("sk-proj-two") as client:
        made = client.containers.create(name="mine")
    for key, calls in (("sk-proj-three", 3), (KEY_A, 0)):
        before = len(place.provider.calls)
        with place.client(key) as stranger:
            with pytest.raises(openai.NotFoundError):
                stranger.containers.retrieve(made.id)
            with pytest.raises(openai.NotFoundError):
                stranger.containers.delete(made.id)
            assert made.id not in [item.id for item in stranger.containers.list()]
        asked = place.provider.calls[before:]
        assert [call.headers["authorization"] for call in asked] == [f"Bearer {key}"] * calls
    with place.client("sk-proj-two") as client:
        assert client.containers.retrieve(made.id).id == made.id


def test_each_key_has_files_of_its_own(place: Place) -> None:
    """A file that was made with a key is no other's to read, list or copy; a shared key never asks for it."""
    with place.client("sk-proj-two") as client:
        made = client.files.create(file=("x", b"x"), purpose="batch")
        assert client.files.retrieve(made.id).id == made.id
    for key, calls in (("sk-proj-three", 5), (KEY_A, 0)):
        before = len(place.provider.calls)
        with place.client(key) as stranger:
            for attempt in (stranger.files.retrieve, stranger.files.content, stranger.files.delete):
                with pytest.raises(openai.NotFoundError):
                    attempt(made.id)
            with pytest.raises(openai.BadRequestError) as refused:
                stranger.containers.create(name="mine", file_ids=[made.id])
            assert refused.value.param == "file_ids[0]"
            assert made.id not in [item.id for item in stranger.files.list()]
        assert len(place.provider.calls) == before + calls


def test_a_key_that_the_provider_refuses(place: Place) -> None:
    """It is the caller's key, so it is the caller's 401, with what the provider says, once."""
    before = len(place.provider.calls)
    with place.client(WRONG) as client, pytest.raises(openai.AuthenticationError) as refused:
        client.containers.create(name="mine")
    assert (refused.value.code, refused.value.type) == ("invalid_api_key", "invalid_request_error")
    assert len(place.provider.calls) == before + 1


def test_no_key_for_what_berth_hosts(place: Place) -> None:
    """Berth's own containers are not to be had with somebody's key."""
    with place.client("sk-proj-one") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.containers.create(name="mine", extra_body={"provider": "ollama"})
    assert refused.value.code == "virtual_key_not_found"


def test_it_is_not_kept(place: Place) -> None:
    """No file of Berth's and no line of its log has such a key in it."""
    with place.client("sk-proj-one") as client:
        client.containers.create(name="mine")
    assert leaks(place.folder, ["sk-proj-one", "sk-proj-two", "sk-proj-three", "sk-proj-other", WRONG]) == []


def test_where_they_are_not_allowed(tmp_path: Path) -> None:
    """Without `allow_direct_keys` such a key is nobody's, and the provider never sees it."""
    with in_background(misbehaving(small_provider())) as provider:
        providers = {"openai": passing_to(f"{provider.url}/v1", CONFIGURED)}
        settings = {"providers": providers, "auth": AUTH | {"allow_direct_keys": False}}
        with running(tmp_path, settings) as berth:
            client = Place(berth, provider, tmp_path).client("sk-proj-one")
            with client, pytest.raises(openai.AuthenticationError) as refused:
                client.containers.create(name="mine")
            assert refused.value.code == "virtual_key_not_found"
        assert provider.calls == []
