"""Two tenants cannot see each other: what is somebody else's is exactly like what never was."""

import httpx2
import pytest

from chaining import everywhere
from running import KEY_A, KEY_B, Berth

pytestmark = everywhere

ABSENT = ("cntr_" + "0" * 48, "cfile_" + "0" * 32)
PREFIXES = ["/v1", "/openai"]
OPERATIONS = [
    ("GET", "/containers/{c}"),
    ("DELETE", "/containers/{c}"),
    ("GET", "/containers/{c}/files"),
    ("POST", "/containers/{c}/files?filename=x"),
    ("GET", "/containers/{c}/files/{f}"),
    ("GET", "/containers/{c}/files/{f}/content"),
    ("DELETE", "/containers/{c}/files/{f}"),
]
CHANGING_HEADERS = {"x-request-id", "date", "content-length"}


def client(berth: Berth, key: str) -> httpx2.Client:
    return httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {key}"})


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(("verb", "path"), OPERATIONS)
def test_foreign_is_absent(berth: Berth, prefix: str, verb: str, path: str) -> None:
    """Every operation on another tenant's ids answers like one on ids that never were: status, body and headers."""
    with client(berth, KEY_A) as owner, client(berth, KEY_B) as stranger:
        container = owner.post("/openai/v1/containers", json={"name": "mine"}).json()["id"]
        file = owner.post(f"/v1/containers/{container}/files?filename=x", content=b"secret").json()["id"]
        foreign = stranger.request(verb, prefix + path.format(c=container, f=file))
        absent = stranger.request(verb, prefix + path.format(c=ABSENT[0], f=ABSENT[1]))
        assert foreign.status_code == absent.status_code == 404
        assert foreign.text.replace(container, ABSENT[0]).replace(file, ABSENT[1]) == absent.text
        assert {name: value for name, value in foreign.headers.items() if name not in CHANGING_HEADERS} == {
            name: value for name, value in absent.headers.items() if name not in CHANGING_HEADERS
        }
        assert owner.get(f"/v1/containers/{container}/files/{file}/content").content == b"secret"


def test_lists_hold_ones_own(berth: Berth) -> None:
    """A list shows none of another tenant's containers, and a foreign id is no place to go on from."""
    with client(berth, KEY_A) as owner, client(berth, KEY_B) as stranger:
        container = owner.post("/v1/containers", json={"name": "mine"}).json()["id"]
        assert container not in stranger.get("/v1/containers?limit=100").text
        foreign = stranger.get(f"/v1/containers?after={container}")
        absent = stranger.get(f"/v1/containers?after={ABSENT[0]}")
        assert (foreign.status_code, foreign.json()["error"]["param"]) == (400, "after")
        assert foreign.text.replace(container, ABSENT[0]) == absent.text
