"""The official OpenAI SDK, unchanged, through Envoy: everything that it can do with containers."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from support.servers.berth import KEY_A, Berth
from support.servers.chain import and_on_servers

MEBIBYTE = 1024 * 1024
PREFIXES = ["/v1", "/openai/v1", "/openai"]

pytestmark = and_on_servers


def sync_client(berth: Berth, prefix: str = "/v1", key: str = KEY_A) -> OpenAI:
    return OpenAI(base_url=berth.rest + prefix, api_key=key, max_retries=0, _strict_response_validation=True)


def async_client(berth: Berth, prefix: str = "/v1") -> AsyncOpenAI:
    return AsyncOpenAI(base_url=berth.rest + prefix, api_key=KEY_A, max_retries=0, _strict_response_validation=True)


@pytest.fixture
def client(berth: Berth) -> Iterator[OpenAI]:
    with sync_client(berth) as client:
        yield client


@pytest.mark.parametrize("prefix", PREFIXES)
def test_container_life(berth: Berth, prefix: str) -> None:
    """A container is created, retrieved and deleted, with every field as it was given, below every prefix."""
    with sync_client(berth, prefix) as client:
        created = client.containers.create(
            name="tour", expires_after={"anchor": "last_active_at", "minutes": 5}, memory_limit="4g"
        )
        assert created.id.startswith("cntr_")
        assert len(created.id) == 53
        assert (created.object, created.name, created.status) == ("container", "tour", "running")
        assert created.expires_after is not None
        assert (created.expires_after.anchor, created.expires_after.minutes) == ("last_active_at", 5)
        assert created.memory_limit == "4g"
        retrieved = client.containers.retrieve(created.id)
        assert retrieved.to_dict() | {"extra_fields": None} == created.to_dict() | {"extra_fields": None}
        client.containers.delete(created.id)
        with pytest.raises(openai.NotFoundError):
            client.containers.retrieve(created.id)


@pytest.mark.parametrize("prefix", PREFIXES[1:])
def test_ids_tell_the_provider_at_the_paths_of_openai(berth: Berth, prefix: str) -> None:
    """What was made for another provider is found there by its id; a request that names openai does not find it."""
    with sync_client(berth, prefix) as client:
        ollama = {"provider": "ollama"}
        container = client.containers.create(name="elsewhere", extra_body=ollama).id
        file = client.containers.files.create(container, file=("a.txt", b"hello"), extra_body=ollama).id
        client.containers.files.create(container, file=("b.txt", b"more"))
        assert [item.path[-5:] for item in client.containers.files.list(container)] == ["b.txt", "a.txt"]
        assert client.containers.files.content.retrieve(file, container_id=container).content == b"hello"
        loose = client.files.create(file=("c.txt", b"loose"), purpose="user_data", extra_body=ollama).id
        assert client.files.content(loose).content == b"loose"
        for named, status in ((ollama, 200), ({"provider": "openai"}, 404), ({"provider": "groq"}, 404)):
            reply = client.containers.with_raw_response
            try:
                assert reply.retrieve(container, extra_query=named).http_response.status_code == status
            except openai.NotFoundError:
                assert status == 404
        assert container not in [item.id for item in client.containers.list()]
        client.files.delete(loose)
        client.containers.files.delete(file, container_id=container)
        client.containers.delete(container)
        with pytest.raises(openai.NotFoundError):
            client.containers.retrieve(container)


async def test_container_life_async(berth: Berth) -> None:
    """The asynchronous client does the same tour."""
    async with async_client(berth) as client:
        container = await client.containers.create(name="async")
        file = await client.containers.files.create(container.id, file=("a.txt", b"hello", "text/plain"))
        listed = [item.id async for item in client.containers.files.list(container.id)]
        assert listed == [file.id]
        content = await client.containers.files.content.retrieve(file.id, container_id=container.id)
        assert await content.aread() == b"hello"
        await client.containers.files.delete(file.id, container_id=container.id)
        await client.containers.delete(container.id)


def test_paging(berth: Berth) -> None:
    """Automatic paging returns each of 50 containers once, newest first or oldest first."""
    with sync_client(berth) as client:
        made = [client.containers.create(name="paged").id for _ in range(50)]
        newest = [item.id for item in client.containers.list(limit=7, name="paged")]
        oldest = [item.id for item in client.containers.list(limit=20, order="asc", name="paged")]
        assert newest == made[::-1]
        assert oldest == made


def test_deleting_while_paging(client: OpenAI) -> None:
    """Deleting every container while going through the pages leaves none and skips none."""
    for _ in range(9):
        client.containers.create(name="swept")
    for container in client.containers.list(limit=2, name="swept"):
        client.containers.delete(container.id)
    assert list(client.containers.list(name="swept")) == []


def test_uploads(client: OpenAI, tmp_path: Path) -> None:
    """Bytes, a path, an open file and a tuple with name and type arrive whole, under their names."""
    container = client.containers.create(name="uploads")
    path = tmp_path / "report final.csv"
    path.write_bytes(b"a,b\n1,2\n")
    create = client.containers.files.create
    with path.open("rb") as handle:
        files = [
            create(container.id, file=b"bytes"),
            create(container.id, file=path),
            create(container.id, file=handle),
            create(container.id, file=('日本語 "x".txt', "naïve".encode(), "text/plain; charset=utf-8")),
        ]
    names = [file.path.removeprefix("/mnt/data/")[33:] for file in files]
    assert names == ["upload", "report final.csv", "report final.csv", '日本語 "x".txt']
    assert [file.bytes for file in files] == [5, 8, 8, 6]
    assert {(file.source, file.object, file.container_id) for file in files} == {
        ("user", "container.file", container.id)
    }
    last = client.containers.files.content.retrieve(files[3].id, container_id=container.id)
    assert (last.content, last.response.headers["content-type"]) == ("naïve".encode(), "text/plain; charset=utf-8")
    assert "filename*=UTF-8''%E6%97%A5" in last.response.headers["content-disposition"]


class Unsized:
    """64 MiB that are read piece by piece, and of which nobody knows the length."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self._left = 64

    def read(self, _: int = -1) -> bytes:
        if not self._left:
            return b""
        self._left -= 1
        piece = os.urandom(MEBIBYTE)
        self.digest.update(piece)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


def test_large_upload_of_unknown_length(client: OpenAI) -> None:
    """64 MiB out of a generator go up in chunks and come down with the same digest."""
    container = client.containers.create(name="large")
    source = Unsized()
    file = client.containers.files.create(container.id, file=("large.bin", source))  # type: ignore[arg-type]
    assert file.bytes == 64 * MEBIBYTE
    digest = hashlib.sha256()
    with client.containers.files.content.with_streaming_response.retrieve(
        file.id, container_id=container.id
    ) as response:
        for piece in response.iter_bytes():
            digest.update(piece)
        assert response.headers["etag"] == f'"{source.digest.hexdigest()}"'
    assert digest.digest() == source.digest.digest()


def test_file_life(client: OpenAI) -> None:
    """A file is listed, retrieved and deleted; then it is a 404."""
    container = client.containers.create(name="files")
    files = [client.containers.files.create(container.id, file=(f"{n}.txt", b"x" * n)) for n in range(5)]
    assert [item.id for item in client.containers.files.list(container.id, limit=2, order="asc")] == [
        file.id for file in files
    ]
    assert client.containers.files.retrieve(files[3].id, container_id=container.id).bytes == 3
    client.containers.files.delete(files[3].id, container_id=container.id)
    with pytest.raises(openai.NotFoundError) as caught:
        client.containers.files.retrieve(files[3].id, container_id=container.id)
    assert caught.value.body == {
        "message": f"File {files[3].id} not found on container {container.id}.",
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }


def test_errors_have_their_classes(berth: Berth, client: OpenAI) -> None:
    """Each refusal is raised as the SDK's own class, with message, param, code and the request's id."""
    with pytest.raises(openai.BadRequestError) as bad:
        client.containers.list(limit=101).data  # noqa: B018 - the request is made here
    assert (bad.value.param, bad.value.code) == ("limit", "integer_above_max_value")
    assert bad.value.request_id
    with sync_client(berth, key="sk-bf-wrong") as stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.containers.list()
    assert refused.value.code == "virtual_key_not_found"
    with sync_client(berth, key="sk-bf-only-groq") as narrow, pytest.raises(openai.PermissionDeniedError) as blocked:
        narrow.containers.create(name="x", extra_body={"provider": "ollama"})
    assert blocked.value.code == "provider_blocked"
    with pytest.raises(openai.BadRequestError) as unsupported:
        client.containers.create(name="x", extra_body={"provider": "cohere"})
    assert unsupported.value.code == "unsupported_operation"
    assert "container_create is not supported by cohere provider" in unsupported.value.message
