"""The official OpenAI SDK, unchanged, through Envoy: files, and what is copied from them into containers."""

from collections.abc import Iterator
from io import BytesIO

import openai
import pytest
from openai import OpenAI
from openai.types.file_create_params import ExpiresAfter

from support.servers.berth import KEY_A, KEY_B, Berth
from support.servers.chain import and_on_servers

pytestmark = and_on_servers


def sync_client(berth: Berth, prefix: str = "/v1", key: str = KEY_A) -> OpenAI:
    return OpenAI(base_url=berth.rest + prefix, api_key=key, max_retries=0, _strict_response_validation=True)


@pytest.fixture
def client(berth: Berth) -> Iterator[OpenAI]:
    with sync_client(berth) as client:
        yield client


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/openai"])
def test_the_life_of_a_file(berth: Berth, prefix: str) -> None:
    """A file is uploaded, retrieved, listed, downloaded and deleted, with every field as it was given."""
    with sync_client(berth, prefix) as client:
        expiry: ExpiresAfter = {"anchor": "created_at", "seconds": 3600}
        made = client.files.create(file=("報告.csv", b"a,b", "text/csv"), purpose="user_data", expires_after=expiry)
        assert made.id.startswith("file-")
        assert (made.object, made.bytes, made.filename) == ("file", 3, "報告.csv")
        assert (made.purpose, made.status, made.expires_at) == ("user_data", "processed", made.created_at + 3600)
        again = client.files.retrieve(made.id)
        assert again.to_dict() | {"extra_fields": None} == made.to_dict() | {"extra_fields": None}
        assert made.id in [file.id for file in client.files.list(purpose="user_data")]
        content = client.files.content(made.id)
        assert content.read() == b"a,b"
        assert content.response.headers["content-type"] == "text/csv"
        deleted = client.files.delete(made.id)
        assert (deleted.id, deleted.object, deleted.deleted) == (made.id, "file", True)
        for gone in (client.files.retrieve, client.files.content, client.files.delete):
            with pytest.raises(openai.NotFoundError):
                gone(made.id)


def test_a_list_of_files_pages_by_itself(client: OpenAI) -> None:
    """The SDK walks through pages of two, newest first, or oldest first where that is asked for."""
    made = [client.files.create(file=(f"{i}.txt", b"%d" % i), purpose="fine-tune").id for i in range(5)]
    newest = [file.id for file in client.files.list(purpose="fine-tune", limit=2)]
    assert newest[:5] == made[::-1]
    oldest = [file.id for file in client.files.list(purpose="fine-tune", limit=2, order="asc")]
    assert oldest[-5:] == made


def test_files_are_copied_into_a_new_container(client: OpenAI) -> None:
    """`file_ids` puts files, the same one twice if that is asked for, into a container, where they stay."""
    first = client.files.create(file=("a.txt", b"first", "text/plain"), purpose="assistants")
    second = client.files.create(file=("b.txt", b"second"), purpose="assistants")
    container = client.containers.create(name="copies", file_ids=[first.id, second.id, first.id])
    client.files.delete(first.id)
    files = list(client.containers.files.list(container.id, order="asc"))
    assert [file.path.rpartition("-")[2] for file in files] == ["a.txt", "b.txt", "a.txt"]
    contents = [client.containers.files.content.retrieve(file.id, container_id=container.id) for file in files]
    assert [content.read() for content in contents] == [b"first", b"second", b"first"]


def test_a_file_is_copied_into_a_container(client: OpenAI) -> None:
    """`file_id` puts one file into a container."""
    origin = client.files.create(file=("a.txt", b"origin"), purpose="assistants")
    container = client.containers.create(name="copy")
    copy = client.containers.files.create(container.id, file_id=origin.id)
    assert (copy.bytes, copy.path.rpartition("-")[2]) == (6, "a.txt")
    assert client.containers.files.content.retrieve(copy.id, container_id=container.id).read() == b"origin"


def test_what_cannot_be_copied(berth: Berth, client: OpenAI) -> None:
    """An unknown id, and one of another tenant, is a 400 that names its place, and no container is made."""
    own = client.files.create(file=("a.txt", b"own"), purpose="assistants")
    with sync_client(berth, key=KEY_B) as other:
        foreign = other.files.create(file=("a.txt", b"foreign"), purpose="assistants")
    container = client.containers.create(name="unharmed")
    for bad in (foreign.id, "file-unknown", own.id[:-1]):
        with pytest.raises(openai.BadRequestError) as caught:
            client.containers.create(name="never", file_ids=[own.id, own.id, bad])
        assert caught.value.param == "file_ids[2]"
        with pytest.raises(openai.BadRequestError) as caught:
            client.containers.files.create(container.id, file_id=bad)
        assert caught.value.param == "file_id"
    assert not list(client.containers.list(name="never"))
    assert not list(client.containers.files.list(container.id))
    with pytest.raises(openai.BadRequestError) as caught:
        client.containers.create(name="never", file_ids=[own.id] * 51)
    assert (caught.value.param, caught.value.code) == ("file_ids", "array_above_max_length")


def test_another_tenants_file_is_not_there(berth: Berth, client: OpenAI) -> None:
    """Nobody retrieves, downloads, lists or deletes what is another tenant's."""
    made = client.files.create(file=("a.txt", b"ours"), purpose="vision")
    with sync_client(berth, key=KEY_B) as other:
        for attempt in (other.files.retrieve, other.files.content, other.files.delete):
            with pytest.raises(openai.NotFoundError):
                attempt(made.id)
        assert made.id not in [file.id for file in other.files.list()]
    assert client.files.retrieve(made.id).id == made.id


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"purpose": "nothing"}, "purpose"),
        ({"purpose": ""}, "purpose"),
        ({"purpose": "batch", "extra_body": {"colour": "red"}}, "colour"),
        ({"purpose": "batch", "expires_after": {"anchor": "now", "seconds": 3600}}, "expires_after.anchor"),
        ({"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 3599}}, "expires_after.seconds"),
        ({"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 2592001}}, "expires_after.seconds"),
        ({"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": "x"}}, "expires_after.seconds"),
        ({"purpose": "batch", "expires_after": {"anchor": "created_at", "seconds": 0}}, "expires_after.seconds"),
        ({"purpose": "batch", "extra_body": {"provider": "nobody"}}, "provider"),
    ],
)
def test_what_makes_no_file(client: OpenAI, fields: dict[str, object], param: str) -> None:
    """A field that cannot be is a 400 that names it, and no file is made."""
    before = [file.id for file in client.files.list()]
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.txt", b"x"), **fields)  # type: ignore[arg-type] # wrong on purpose
    assert caught.value.param == param
    assert [file.id for file in client.files.list()] == before


def test_an_upload_is_done_once_for_a_key(client: OpenAI) -> None:
    """The same upload with the same key is the same file; another one with that key is refused."""
    headers = {"Idempotency-Key": "once-and-only-once"}
    made = [client.files.create(file=("a.txt", b"x"), purpose="batch", extra_headers=headers).id for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(openai.BadRequestError) as caught:
        client.files.create(file=("a.txt", b"y"), purpose="batch", extra_headers=headers)
    assert caught.value.code == "idempotency_key_reused"


def test_a_range_of_a_file(client: OpenAI) -> None:
    """`offset` and `length` choose bytes."""
    made = client.files.create(file=("a.txt", BytesIO(b"0123456789")), purpose="batch")
    part = client.files.content(made.id, extra_query={"offset": 2, "length": 3})
    assert part.read() == b"234"
    assert part.response.headers["x-content-length"] == "3"
