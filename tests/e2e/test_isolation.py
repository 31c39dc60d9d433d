"""Two tenants cannot see each other: what is somebody else's is exactly like what never was."""

import httpx2
import pytest

from support.servers.berth import KEY_A, KEY_B, Berth
from support.servers.chain import and_on_servers

pytestmark = and_on_servers

ABSENT = ("cntr_" + "0" * 48, "cfile_" + "0" * 32, "file-" + "0" * 24)
PREFIXES = ["/v1", "/openai"]
OPERATIONS = [
    ("GET", "/containers/{c}"),
    ("DELETE", "/containers/{c}"),
    ("GET", "/containers/{c}/files"),
    ("POST", "/containers/{c}/files?filename=x"),
    ("GET", "/containers/{c}/files/{f}"),
    ("GET", "/containers/{c}/files/{f}/content"),
    ("DELETE", "/containers/{c}/files/{f}"),
    ("GET", "/files/{o}"),
    ("GET", "/files/{o}/content"),
    ("DELETE", "/files/{o}"),
]
CHANGING_HEADERS = {"x-request-id", "date", "content-length"}


def client(berth: Berth, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {key}"}, timeout=30)


def new_file(owner: httpx2.Client) -> str:
    upload = owner.post("/openai/v1/files", files={"file": ("x", b"secret")}, data={"purpose": "batch"})
    file: str = upload.json()["id"]
    return file


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("verb", "path"), OPERATIONS)
def test_foreign_is_absent(berth: Berth, prefix: str, verb: str, path: str) -> None:
    """Every operation on another tenant's ids answers like one on ids that never were: status, body and headers."""
    with client(berth, KEY_A) as owner, client(berth, KEY_B) as stranger:
        container = owner.post("/openai/v1/containers", json={"name": "mine"}).json()["id"]
        file = owner.post(f"/v1/containers/{container}/files?filename=x", content=b"secret").json()["id"]
        outside = new_file(owner)
        foreign = stranger.request(verb, prefix + path.format(c=container, f=file, o=outside))
        absent = stranger.request(verb, prefix + path.format(c=ABSENT[0], f=ABSENT[1], o=ABSENT[2]))
        assert foreign.status_code == absent.status_code == 404
        told = foreign.text.replace(container, ABSENT[0]).replace(file, ABSENT[1]).replace(outside, ABSENT[2])
        assert told == absent.text
        assert {name: value for name, value in foreign.headers.items() if name not in CHANGING_HEADERS} == {
            name: value for name, value in absent.headers.items() if name not in CHANGING_HEADERS
        }
        assert owner.get(f"/v1/containers/{container}/files/{file}/content").content == b"secret"
        assert owner.get(f"/v1/files/{outside}/content").content == b"secret"


def test_lists_hold_ones_own(berth: Berth) -> None:
    """A list shows none of another tenant's containers and files, and a foreign id is no place to go on from."""
    with client(berth, KEY_A) as owner, client(berth, KEY_B) as stranger:
        container = owner.post("/v1/containers", json={"name": "mine"}).json()["id"]
        for path, mine, nothing in (("containers", container, ABSENT[0]), ("files", new_file(owner), ABSENT[2])):
            assert mine in owner.get(f"/v1/{path}?limit=100").text
            assert mine not in stranger.get(f"/v1/{path}?limit=100").text
            foreign = stranger.get(f"/v1/{path}?after={mine}")
            absent = stranger.get(f"/v1/{path}?after={nothing}")
            assert (foreign.status_code, foreign.json()["error"]["param"]) == (400, "after")
            assert foreign.text.replace(mine, nothing) == absent.text


def test_an_idempotency_key_is_the_tenants_own(berth: Berth) -> None:
    """An upload with a key that another tenant has used is an upload of its own, and the other's file stays unseen."""
    key = {"idempotency-key": f"the same {berth.rest}"}
    with client(berth, KEY_A) as owner, client(berth, KEY_B) as stranger:
        made = [
            each.post("/v1/files", files={"file": ("x", b"x")}, data={"purpose": "batch"}, headers=key)
            for each in (owner, stranger, owner)
        ]
        first, second, again = (answer.json()["id"] for answer in made)
        assert first == again != second
        assert ["idempotent-replayed" in answer.headers for answer in made] == [False, False, True]
