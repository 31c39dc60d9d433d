"""Paths are judged as they are sent: no id ever becomes another operation."""

import http.client
import json
from contextlib import closing
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.servers.berth import KEY_A, Berth
from support.servers.chain import everywhere

pytestmark = everywhere

ALIASES = ("/v1", "/openai/v1", "/openai")


class World(NamedTuple):
    """What there is: a container, a file in it, and a file in none."""

    container: str
    file: str
    loose: str

    def ids(self) -> set[str]:
        return set(self)


def send(berth: Berth, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
    """Send a path as it stands; return the status and the JSON of the answer, None for a page or a file."""
    where = urlsplit(berth.rest)
    with closing(http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)) as connection:
        connection.putrequest(method, path, skip_accept_encoding=True)
        headers = {"Authorization": f"Bearer {KEY_A}", "Content-Length": str(len(body or b"")), **headers}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(content) if content and is_json else None


def make_world(berth: Berth) -> World:
    """Make one of each."""
    named = json.dumps({"provider": "openai", "name": "paths"}).encode()
    _, container = send(berth, "POST", "/v1/containers", named, **{"Content-Type": "application/json"})
    _, file = send(berth, "POST", f"/v1/containers/{container['id']}/files?filename=x", b"hello")
    _, loose = send(berth, "POST", "/v1/files?filename=x&purpose=batch&provider=openai", b"hello")
    return World(container["id"], file["id"], loose["id"])


def left(berth: Berth, world: World) -> set[str]:
    """Return the ids of what is there by asking for each, and for all files of the container."""
    there = {
        "container": f"/v1/containers/{world.container}",
        "file": f"/v1/containers/{world.container}/files/{world.file}",
        "loose": f"/v1/files/{world.loose}",
    }
    ids = {getattr(world, name) for name, path in there.items() if send(berth, "GET", path)[0] == 200}
    status, files = send(berth, "GET", f"/v1/containers/{world.container}/files")
    return ids | ({file["id"] for file in files["data"]} if status == 200 else set())


def named_by(path: str, world: World) -> set[str]:
    """Return the ids that a DELETE of `path`, read literally, removes."""
    root = next((alias for alias in ALIASES if path.startswith(f"{alias}/")), None)
    if root is None:
        return set()
    segments = [unquote(segment) for segment in path[len(root) + 1 :].split("/")]
    if segments == ["containers", world.container]:
        return {world.container, world.file}
    if segments == ["containers", world.container, "files", world.file]:
        return {world.file}
    return {world.loose} if segments == ["files", world.loose] else set()


DOTS = ["..", ".", "%2e%2e", "%2E%2E", ".%2e", "%2e.", "%2E", "%252E%252E", "..;", "..%2f", "..%5C", "%2e%2e%2f"]


@pytest.mark.parametrize("dots", DOTS)
def test_dots_are_an_id_and_no_step_up(berth: Berth, dots: str) -> None:
    """Whatever is done with an id of dots, encoded or not, it does not exist, and nothing else is touched."""
    world = make_world(berth)
    container = f"/v1/containers/{world.container}"
    for method, path in (
        ("DELETE", f"{container}/files/{dots}"),
        ("GET", f"{container}/files/{dots}"),
        ("GET", f"{container}/files/{dots}/content"),
        ("DELETE", f"/v1/containers/{dots}"),
        ("GET", f"/v1/containers/{dots}/files"),
        ("GET", f"/v1/containers/{dots}"),
        ("DELETE", f"/v1/files/{dots}"),
    ):
        status, answer = send(berth, method, path)
        assert status in {400, 404}, (method, path, answer)
        assert answer["status_code"] == status
    status, _ = send(berth, "POST", f"/v1/containers/{dots}/files?purpose=batch&provider=ollama&filename=x", b"x")
    assert status in {400, 404}
    assert left(berth, world) == world.ids()


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/containers/{0.container}/", {404}),
        ("/v1/containers/{0.container}//", {404}),
        ("/v1/containers/{0.container}/files/", {404, 405}),
        ("/v1/containers/{0.container}/files//", {404, 405}),
        ("/v1/containers/{0.container}/files/{0.file}/", {404}),
        ("/v1/containers//{0.container}", {404}),
        ("/v1//containers/{0.container}", {404}),
        ("//v1/containers/{0.container}", {404}),
        ("/v1/containers/{0.container};x=1", {404}),
        ("/v1/containers;x/{0.container}", {404}),
        ("/v1/containers/x/../{0.container}", {404}),
        ("/v1/containers/{0.container}%2F", {404}),
        ("/v1/containers/{0.container}%2Ffiles%2F{0.file}", {404}),
        ("/v1/containers/{0.container}%5C", {404}),
        ("/v1/containers/%20{0.container}", {404}),
        ("/v1/containers//files/{0.file}", {400, 404}),
        ("/v1%2Fcontainers/{0.container}", {404}),
        ("/v1/files/{0.loose}/", {404}),
        ("/v1/files//", {404, 405}),
        ("/v1/./files/{0.loose}", {404}),
    ],
)
def test_a_path_that_is_almost_right_does_nothing(berth: Berth, path: str, statuses: set[int]) -> None:
    """Slashes, semicolons and dots beside an id make another path of it, which names nothing."""
    world = make_world(berth)
    status, answer = send(berth, "DELETE", path.format(world))
    assert status in statuses, answer
    assert left(berth, world) == world.ids()


def test_escapes_of_ordinary_characters_are_those_characters(berth: Berth) -> None:
    """`%5F` is an underscore, in any part of a path."""
    world = make_world(berth)
    status, container = send(berth, "GET", f"/v1/containers/{world.container.replace('_', '%5F')}")
    assert (status, container["id"]) == (200, world.container)
    escaped = "".join(f"%{ord(character):02x}" for character in world.file)
    status, file = send(berth, "DELETE", f"/v1/containers/{world.container}/files/{escaped}")
    assert (status, file["id"]) == (200, world.file)


segments = st.sampled_from(
    [
        *("v1", "openai", "containers", "files", "content", "{0.container}", "{0.file}", "{0.loose}"),
        *("", ".", "..", "%2e%2e", "%2E", "x", ";", "{0.container};a", "..%2F", "%2F", "%5c..", "{0.file}%2F.."),
        *("%7B0%7D", "{0.container}%20", "..;", "%63ontainers", "fi%6Ces"),
    ]
)
starts = st.sampled_from(["", "/v1", "/openai/v1", "/openai"])
known = st.sampled_from(
    [
        "/containers/{0.container}",
        "/containers/{0.container}/files/{0.file}",
        "/files/{0.loose}",
    ]
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    st.sampled_from(["DELETE", "DELETE", "POST", "GET", "PUT"]),
    starts,
    known | st.just(""),
    st.lists(segments, max_size=4),
    st.booleans(),
)
def test_no_request_changes_anything_but_what_its_path_names(
    berth: Berth,
    method: str,
    start: str,
    before: str,
    more: list[str],
    slash: bool,  # noqa: FBT001 - drawn
) -> None:
    """Of random paths, a DELETE removes exactly what its literal ids name, and nothing else removes anything."""
    world = make_world(berth)
    path = (start + before + "".join(f"/{segment}" for segment in more) + "/" * slash).format(world) or "/"
    status, _ = send(berth, method, path)
    gone = world.ids() - left(berth, world)
    expected = named_by(path, world) if method == "DELETE" and status == 200 else set()
    assert gone == expected, (method, path, status)
    assert (status == 200) >= bool(expected)
    if method == "DELETE" and named_by(path, world):
        assert status == 200, path


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_names_nothing_that_the_path_names(berth: Berth, content_type: str) -> None:
    """The body of a GET or DELETE means nothing: neither another container nor another file."""
    world, other = make_world(berth), make_world(berth)
    body = json.dumps({"container_id": other.container, "file_id": other.loose, "fileId": other.file}).encode()
    for method in ("GET", "DELETE"):
        for path, named in (
            (f"/v1/containers/{world.container}/files/{world.file}", world.file),
            (f"/v1/files/{world.loose}", world.loose),
            (f"/v1/containers/{world.container}", world.container),
        ):
            status, answer = send(berth, method, path, body, **{"Content-Type": content_type})
            assert (status, answer["id"]) == (200, named)
    assert left(berth, other) == other.ids()


def test_files_are_made_where_the_path_says(berth: Berth, client: httpx2.Client) -> None:
    """An upload whose path climbs out of a container makes no file outside of it."""
    world = make_world(berth)
    before = {file["id"] for file in client.get("/v1/files").json()["data"]}
    for path in (
        "/v1/containers/../files",
        "/v1/containers/%2e%2e/files",
        f"/v1/containers/{world.container}/../files",
    ):
        status, _ = send(berth, "POST", f"{path}?purpose=batch&provider=ollama&filename=x", b"x")
        assert status in {400, 404}
    after = {file["id"] for file in client.get("/v1/files").json()["data"]}
    assert after == before
