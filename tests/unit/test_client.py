"""What the commands for people rest on: addresses, keys that stay where they belong, and long lists."""

from pathlib import Path

import pytest

from berth.client.endpoint import Endpoint, Server
from berth.client.listing import Listing
from berth.commands.remote import server_of
from berth.config import load
from berth.launch.refusal import StartError
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import ListContainersResponse
from support.certs.authority import Authority

ELSEWHERE = "berth.example:443"


@pytest.mark.parametrize(
    ("text", "endpoint", "is_loopback"),
    [
        ("127.0.0.1:50051", Endpoint("127.0.0.1", 50051), True),
        ("127.9.9.9:1", Endpoint("127.9.9.9", 1), True),
        ("[::1]:65535", Endpoint("::1", 65535), True),
        ("LOCALHOST:1", Endpoint("LOCALHOST", 1), True),
        ("localhost.example:1", Endpoint("localhost.example", 1), False),
        ("10.0.0.1:1", Endpoint("10.0.0.1", 1), False),
        ("0.0.0.0:1", Endpoint("0.0.0.0", 1), False),  # noqa: S104 - called, not bound
        ("127.0.0.1.example:1", Endpoint("127.0.0.1.example", 1), False),
    ],
)
def test_an_address_is_here_or_elsewhere(text: str, endpoint: Endpoint, is_loopback: bool) -> None:  # noqa: FBT001 - a parameter
    """Only what never leaves this machine counts as here, and an address is printed as it was given."""
    assert Endpoint.parse(text) == endpoint
    assert endpoint.is_loopback is is_loopback
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text", ["", "x", ":1", "x:", "x:0", "x:65536", "::1:1", "http://x:1", "unix:/x", "[x]:1", "x:1/", "a b:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """Neither a URL, nor a scheme of grpc's, nor a port that cannot be."""
    with pytest.raises(ValueError, match=r".*"):
        Endpoint.parse(text)


def test_nothing_goes_unencrypted_to_another_machine() -> None:
    """There is no server elsewhere without authorities, and a server does not print its key."""
    with pytest.raises(ValueError, match="encrypted"):
        Server(Endpoint.parse(ELSEWHERE), key="sk-bf-hush")
    assert "hush" not in repr(Server(Endpoint.parse("[::1]:1"), key="sk-bf-hush"))


def test_the_key_of_the_folder_stays_on_this_machine(tmp_path: Path) -> None:
    """It goes to a server here, and to nobody elsewhere, however trusted; a key that is named goes there."""
    (tmp_path / "first-key").write_text("sk-bf-first\n")
    (tmp_path / "ca.crt").write_bytes(Authority().pem)
    config, ca = load(None, {}, data_dir=tmp_path), tmp_path / "ca.crt"
    assert server_of(config, None, key=None, ca=None) == Server(Endpoint("127.0.0.1", 50051), key="sk-bf-first")
    assert server_of(config, "localhost:1", key=None, ca=None).key == "sk-bf-first"
    assert server_of(config, ELSEWHERE, key=None, ca=ca).key is None
    assert server_of(config, ELSEWHERE, key="sk-bf-named", ca=ca).key == "sk-bf-named"
    with pytest.raises(StartError, match=r"another machine, and nothing would be encrypted"):
        server_of(config, ELSEWHERE, key="sk-bf-named", ca=None)


def test_a_folder_without_a_key_gets_none(tmp_path: Path) -> None:
    """Looking for the first key makes none."""
    assert server_of(load(None, {}, data_dir=tmp_path / "data"), None, key=None, ca=None).key is None
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("limit", "asked", "has_more"),
    [(1, [(1, None)], True), (100, [(100, None)], True), (150, [(100, None), (50, "99")], True)]
    + [(limit, [(100, None), (100, "99"), (size, "199")], False) for limit, size in ((250, 50), (None, 100))],
)
def test_a_long_list_is_asked_for_in_pages(
    limit: int | None,
    asked: list[tuple[int, str | None]],
    has_more: bool,  # noqa: FBT001 - a parameter
) -> None:
    """As many as are wanted, at most 100 at a time, each page behind the last item of the one before."""
    calls, ids = [], [str(number) for number in range(250)]

    def fetch(size: int, after: str | None) -> ListContainersResponse:
        calls.append((size, after))
        begin = 0 if after is None else int(after) + 1
        page = ids[begin : begin + size]
        more = begin + size < len(ids)
        return ListContainersResponse(data=[Container(id=one) for one in page], last_id=page[-1], has_more=more)

    listing = Listing(fetch, limit)
    assert [item.id for item in listing] == ids[:limit]
    assert (calls, listing.has_more) == (asked, has_more)
