"""A key for one provider comes to no file of another one, not even of its own tenant's."""

from collections.abc import Iterator

import httpx2
import pytest

from support.servers.berth import Berth
from support.servers.chain import everywhere

pytestmark = everywhere

BLOCKED, UNSEEN = (403, "provider_blocked"), (404, None)
WAYS = [("GET", ""), ("GET", "/content"), ("DELETE", "")]


@pytest.fixture
def groq(berth: Berth) -> Iterator[httpx2.Client]:
    """Return a client of tenant a with a key that is good for Groq alone."""
    with httpx2.Client(base_url=berth.rest, headers={"x-bf-vk": "sk-bf-only-groq"}, timeout=60) as client:
        yield client


@pytest.fixture
def file(client: httpx2.Client) -> str:
    """Return the id of a new file of tenant a, kept for Ollama."""
    form = {"provider": "ollama", "purpose": "batch"}
    file: str = client.post("/v1/files", files={"file": ("x", b"secret")}, data=form).json()["id"]
    return file


def outcome(answer: httpx2.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(
    ("query", "expected"), [("", BLOCKED), ("?provider=ollama", BLOCKED), ("?provider=groq", UNSEEN)]
)
@pytest.mark.parametrize(("verb", "below"), WAYS)
def test_it_neither_reads_nor_deletes(
    client: httpx2.Client, groq: httpx2.Client, file: str, verb: str, below: str, query: str, expected: tuple[int, str]
) -> None:
    """Whichever provider the request names, or none, the file stays unread and stays."""
    assert outcome(groq.request(verb, f"/v1/files/{file}{below}{query}")) == expected
    assert client.get(f"/v1/files/{file}/content").content == b"secret"


def test_it_lists_its_own(groq: httpx2.Client, file: str) -> None:
    """A list of the files of all providers is one of those that the key is good for."""
    form = {"provider": "groq", "purpose": "batch"}
    own = groq.post("/v1/files", files={"file": ("x", b"own")}, data=form).json()["id"]
    listed = [item["id"] for item in groq.get("/v1/files").json()["data"]]
    assert own in listed
    assert file not in listed


def test_it_copies_nothing(client: httpx2.Client, groq: httpx2.Client, file: str) -> None:
    """A container of its own provider takes up no file of another, when it is made or later."""
    body = {"provider": "groq", "name": "theft"}
    assert outcome(groq.post("/v1/containers", json={**body, "file_ids": [file]})) == BLOCKED
    assert "theft" not in client.get("/v1/containers?limit=100").text
    container = groq.post("/v1/containers", json={"provider": "groq", "name": "empty"}).json()["id"]
    assert outcome(groq.post(f"/v1/containers/{container}/files", json={"file_id": file})) == BLOCKED
    assert groq.get(f"/v1/containers/{container}/files").json()["data"] == []


def test_it_takes_files_for_its_own(client: httpx2.Client, groq: httpx2.Client) -> None:
    """What is uploaded for another provider is refused, whether the query says so or the form."""
    before = client.get("/v1/files").json()["data"]
    for query, form in (("?provider=ollama", {}), ("", {"provider": "ollama"})):
        upload = groq.post(f"/v1/files{query}", files={"file": ("x", b"x")}, data={"purpose": "batch", **form})
        assert outcome(upload) == BLOCKED
    assert client.get("/v1/files").json()["data"] == before
