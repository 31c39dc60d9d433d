"""HTTP beyond GET and POST: HEAD, ranges, conditions, HTTP/1.0, and what stands in the log of who called."""

import hashlib
import http.client
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from support.clients.envelope import expect
from support.clients.http1 import exchange
from support.servers.berth import KEY_A, SETTINGS, Berth, running

everywhere = pytest.mark.parametrize("berth", ["hosted", "over_grpc", "chained"], indirect=True)
"""Where a file has an ETag and a date: at Berth, and at another Berth behind it."""
CONTENT = bytes(range(256)) * 1000
ETAG = f'"{hashlib.sha256(CONTENT).hexdigest()}"'


@pytest.fixture
def content(client: httpx2.Client, container: str) -> str:
    """Return where the bytes of a file are."""
    path = f"/v1/containers/{container}/files"
    file = client.post(f"{path}?filename=a.bin", content=CONTENT, headers={"content-type": "a/b"}).json()["id"]
    return f"{path}/{file}/content"


@pytest.fixture
def outside(client: httpx2.Client) -> str:
    """Return where the bytes of a file are that is in no container."""
    query = {"filename": "a.bin", "purpose": "batch", "provider": "ollama"}
    return f"/v1/files/{client.post('/v1/files', params=query, content=CONTENT).json()['id']}/content"


@everywhere
@pytest.mark.parametrize("where", ["content", "outside"])
def test_a_download_describes_itself(client: httpx2.Client, request: pytest.FixtureRequest, where: str) -> None:
    """Its length, its ETag and its date are in headers, and ranges are offered."""
    answer = client.get(request.getfixturevalue(where))
    assert answer.content == CONTENT
    assert answer.headers["etag"] == ETAG
    assert answer.headers["content-length"] == "256000"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["last-modified"].endswith(" GMT")
    assert "transfer-encoding" not in answer.headers


@everywhere
@pytest.mark.parametrize("where", ["content", "outside"])
@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=255990-", 255_990, 256_000),
        ("bytes=255990-999999999", 255_990, 256_000),
        ("bytes=-10", 255_990, 256_000),
        ("bytes=-999999999", 0, 256_000),
        ("bytes=0-", 0, 256_000),
        ("Bytes=5-6", 5, 7),
        (f"bytes=5-{'9' * 30}", 5, 256_000),
        (f"bytes=-{'9' * 30}", 0, 256_000),
    ],
)
def test_a_range_is_a_part(
    client: httpx2.Client, request: pytest.FixtureRequest, where: str, asked: str, start: int, end: int
) -> None:
    """One range is answered with 206, the part, and where it is in the whole."""
    answer = client.get(request.getfixturevalue(where), headers={"range": asked})
    assert answer.status_code == 206
    assert answer.content == CONTENT[start:end]
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/256000"
    assert answer.headers["content-length"] == str(end - start)
    assert answer.headers["etag"] == ETAG


@everywhere
@pytest.mark.parametrize(
    "asked", ["bytes=256000-", "bytes=256000-256001", "bytes=999999999999-", f"bytes={'9' * 30}-", "bytes=-0"]
)
def test_a_range_beyond_the_end_is_refused(client: httpx2.Client, content: str, asked: str) -> None:
    """A range without a byte of the file is a 416 that says how large the file is."""
    answer = client.get(content, headers={"range": asked})
    expect(answer, 416, None, "range_not_satisfiable")
    assert answer.headers["content-range"] == "bytes */256000"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=a-b", "bytes=", "bytes=-", "lines=1-2", "bytes=0-1,5-6", "x"])
def test_what_is_no_single_range_is_ignored(client: httpx2.Client, content: str, asked: str) -> None:
    """Several ranges, and what cannot be read, are answered with the whole (RFC 9110)."""
    answer = client.get(content, headers={"range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


def test_offset_and_length_come_before_ranges(client: httpx2.Client, content: str) -> None:
    """What the query asks for is a whole answer of its own, as it always was."""
    answer = client.get(f"{content}?offset=10&length=5", headers={"range": "bytes=0-0"})
    assert (answer.status_code, answer.content) == (200, CONTENT[10:15])
    assert answer.headers["content-length"] == "5"


@everywhere
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if-none-match": ETAG}, 304),
        ({"if-none-match": f'"x", W/{ETAG}'}, 304),
        ({"if-none-match": "*"}, 304),
        ({"if-none-match": '"x"'}, 200),
        ({"if-none-match": '"x"', "if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 200),
        ({"if-modified-since": "Fri, 01 Jan 2100 00:00:00 GMT"}, 304),
        ({"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"if-modified-since": "yesterday"}, 200),
        ({"if-match": ETAG}, 200),
        ({"if-match": f'"x", {ETAG}'}, 200),
        ({"if-match": "*"}, 200),
        ({"if-match": '"x"'}, 412),
        ({"if-match": f"W/{ETAG}"}, 412),
        ({"range": "bytes=0-4", "if-range": ETAG}, 206),
        ({"range": "bytes=0-4", "if-range": '"x"'}, 200),
        ({"range": "bytes=0-4", "if-range": "Thu, 01 Jan 1970 00:00:00 GMT"}, 200),
        ({"range": "bytes=999999-", "if-range": '"x"'}, 200),
        ({"range": "bytes=999999-", "if-none-match": ETAG}, 304),
        ({"range": "bytes=999999-", "if-match": '"x"'}, 412),
        ({"range": "bytes=-0", "if-none-match": ETAG}, 304),
        ({"range": "bytes=-5", "if-range": '"x"'}, 200),
        ({"range": "bytes=-5", "if-match": '"x"'}, 412),
    ],
)
def test_conditions(client: httpx2.Client, content: str, headers: dict[str, str], status: int) -> None:
    """ETags and dates decide what is sent: the file, a part of it, nothing, or a refusal."""
    answer = client.get(content, headers=headers)
    assert answer.status_code == status
    if status == 412:
        expect(answer, 412, "If-Match", "precondition_failed")
    else:
        assert answer.content == {200: CONTENT, 206: CONTENT[:5], 304: b""}[status]
        assert answer.headers["etag"] == ETAG


@everywhere
def test_a_delete_may_depend_on_the_etag(client: httpx2.Client, content: str, outside: str) -> None:
    """With If-Match a file is deleted only if it is the one that is meant."""
    for path in (content.removesuffix("/content"), outside.removesuffix("/content")):
        expect(client.delete(path, headers={"if-match": '"x"'}), 412, "If-Match", "precondition_failed")
        assert client.get(path).status_code == 200
        assert client.delete(path, headers={"if-match": ETAG}).status_code == 200
        expect(client.delete(path, headers={"if-match": ETAG}), 404, None)


@everywhere
def test_head_is_get_without_a_body(client: httpx2.Client, content: str) -> None:
    """Each GET has a HEAD with the same status and headers, on success and on refusal."""
    container = content.partition("/files")[0]
    for path in ("/v1/containers", container, f"{container}/files", content, content.removesuffix("/content")):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        one_call = {"date", "x-request-id", "x-bifrost-upstream-latency-ms", "content-length"}
        assert {n: v for n, v in head.headers.items() if n not in one_call} == {
            n: v for n, v in got.headers.items() if n not in one_call
        }
        assert abs(int(head.headers["content-length"]) - int(got.headers["content-length"])) < 5  # latency has digits
    for path, status in (("/v1/containers/nope", 404), ("/v1/containers?limit=0", 400), ("/v1/nothing", 404)):
        got, head = client.get(path), client.head(path)
        assert (head.status_code, head.content) == (status, b"")
        assert head.headers.get("content-length", got.headers["content-length"]) == got.headers["content-length"]
    ranged = client.head(content, headers={"range": "bytes=0-4"})
    assert (ranged.status_code, ranged.headers["content-length"], ranged.content) == (206, "5", b"")


def test_a_connection_goes_on_behind_a_head(berth: Berth, content: str) -> None:
    """Nothing of a body is left on the connection that the next answer would be taken for."""
    where = urlsplit(berth.rest)
    connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=10)
    for _ in range(3):
        for method, length in (("HEAD", 0), ("GET", len(CONTENT))):
            connection.request(method, content, headers={"Authorization": f"Bearer {KEY_A}"})
            assert len(connection.getresponse().read()) == length
    connection.close()


async def test_http_1_0_is_served(berth: Berth, content: str) -> None:
    """Old clients and health checks get their answer, with and without a Host."""
    for host in ("", "Host: x\r\n"):
        request = f"GET {content} HTTP/1.0\r\n{host}Authorization: Bearer {KEY_A}\r\n\r\n"
        answer = await exchange(berth.rest, [request.encode()])
        assert (answer.status, answer.body) == (200, CONTENT)


def test_a_plus_is_a_space(client: httpx2.Client, container: str) -> None:
    """`+` in a query is a space, as SDKs write it, and `%2B` is a plus."""
    for name in ("my box", "a+b"):
        client.post("/v1/containers", json={"provider": "ollama", "name": name})
        listed = client.get("/v1/containers", params={"name": name}).json()["data"]
        assert {one["name"] for one in listed} == {name}
    written = client.get("/v1/containers?name=my+box").json()["data"]
    assert {one["name"] for one in written} == {"my box"}
    path = f"/v1/containers/{container}/files?filename=my+report.txt"
    assert client.post(path, content=b"x").json()["path"].endswith("-my report.txt")


def test_what_is_empty_asks_for_nothing(client: httpx2.Client, container: str, outside: str) -> None:
    """An empty filter is none."""
    del outside
    ids = [one["id"] for one in client.get("/v1/containers?name=&status=&provider=").json()["data"]]
    assert container in ids
    assert client.get("/v1/files?purpose=").json()["data"]


def test_lists_say_and_filter_by_provider_and_status(client: httpx2.Client, container: str) -> None:
    """Each container of a list says whose it is, and a status leaves out the others."""
    listed = {one["id"]: one for one in client.get("/v1/containers?status=running").json()["data"]}
    assert listed[container]["provider"] == "ollama"
    assert container not in {one["id"] for one in client.get("/v1/containers?status=expired").json()["data"]}
    for wrong in ("deleted", "active", "nope", "1"):
        expect(client.get(f"/v1/containers?status={wrong}"), 400, "status", "invalid_value")


def test_credentials_that_are_the_same_are_one(berth: Berth) -> None:
    """The same key twice, in one header or in two, counts once; two that differ do not."""
    url = f"{berth.rest}/v1/containers"
    same, other = f"Bearer {KEY_A}", "Bearer sk-bf-tenant-b"
    for headers, status in (
        ([("authorization", same), ("authorization", same)], 200),
        ([("authorization", same), ("x-api-key", KEY_A), ("x-api-key", KEY_A)], 200),
        ([("authorization", same), ("authorization", other)], 401),
        ([("x-api-key", KEY_A), ("x-api-key", "sk-bf-tenant-b")], 401),
    ):
        assert httpx2.get(url, headers=headers, timeout=30).status_code == status


def test_a_key_without_its_scheme_gets_a_hint(berth: Berth) -> None:
    """`Authorization: sk-bf-…` says what is missing, and 401 says how to authenticate."""
    answer = httpx2.get(f"{berth.rest}/v1/containers", headers={"authorization": KEY_A}, timeout=30)
    expect(answer, 401, None, "virtual_key_not_found")
    assert "Authorization: Bearer" in answer.json()["error"]["message"]
    assert KEY_A not in answer.text
    assert answer.headers["www-authenticate"] == 'Bearer realm="berth"'


@pytest.fixture
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth behind two balancers, whose log is read."""
    settings = SETTINGS | {"listen": {"trusted_hops": 2}}
    with running(tmp_path_factory.mktemp("watched"), settings) as berth:
        yield berth


def test_the_log_has_the_address_of_the_caller(watched: Berth, hosted: Berth) -> None:
    """The audit trail names the real address: of this machine, or the one that the first trusted balancer has seen."""
    name = "who-called"
    for berth, forwarded, source in (
        (hosted, "6.6.6.6", "127.0.0.1"),
        (watched, "6.6.6.6, 198.51.100.7, 192.0.2.1", "198.51.100.7"),
    ):
        made = httpx2.post(
            f"{berth.rest}/v1/containers",
            json={"provider": "ollama", "name": name},
            headers={"authorization": f"Bearer {KEY_A}", "x-forwarded-for": forwarded, "x-berth-client": "6.6.6.6"},
            timeout=30,
        ).raise_for_status()
        (line,) = berth.lines(event="container.created", id=made.json()["id"])
        assert line["source"] == source


def test_headers_of_envoys_own_do_not_come_from_outside(hosted: Berth) -> None:
    """What a caller writes into headers of Envoy's and Berth's own neither reaches the log nor changes an answer."""
    forged = {
        "x-envoy-original-path": "/openai/v1/forged-path",
        "x-envoy-original-method": "FORGED-METHOD",
        "x-berth-head": "true",
        "x-berth-content-length": "3",
        "x-request-id": "long-id-" + "x" * 30_000,
    }
    with httpx2.Client(
        base_url=hosted.rest, headers={"authorization": f"Bearer {KEY_A}"} | forged, timeout=30
    ) as client:
        answer = client.get("/v1/containers")
        assert answer.json()["object"] == "list"
        created = client.post("/v1/containers", json={"name": "forged", "provider": "ollama"})
        assert created.json()["name"] == "forged"
        expect(client.get("/v1/nothing"), 404, None, "unknown_url")
    hosted.lines(event="container.created", id=created.json()["id"])
    log = hosted.log.read_text()
    assert "forged-path" not in log
    assert "FORGED-METHOD" not in log
    assert max(map(len, log.splitlines())) < 5_000


def test_an_early_refusal_is_read(hosted: Berth) -> None:
    """An upload of 50 MB that is refused at once is answered, and clients that are still sending read the answer."""
    url = f"{hosted.rest}/v1/containers/cntr_nothing/files"
    with httpx2.Client(headers={"authorization": f"Bearer {KEY_A}"}, timeout=30) as client:
        for _ in range(5):
            assert client.post(url, content=bytes(50_000_000)).status_code == 404


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_an_early_refusal(hosted: Berth, tmp_path: Path) -> None:
    """curl, as it is used most, in a form and with plain bytes."""
    (tmp_path / "big").write_bytes(bytes(50_000_000))
    url = f"{hosted.rest}/v1/containers/cntr_nothing/files"
    for body in (("-F", "file=@big"), ("-H", "Content-Type: a/b", "--data-binary", "@big")):
        for _ in range(3):
            command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-H", f"Authorization: Bearer {KEY_A}"]
            done = subprocess.run([*command, *body, url], cwd=tmp_path, capture_output=True, check=False, timeout=30)
            assert (done.returncode, done.stdout) == (0, b"404")


@pytest.mark.parametrize("name", ["grpc-previous-rpc-attempts", "grpc-retry-pushback-ms", "grpc-timeout", "x-y-bin"])
def test_headers_of_grpc_mean_nothing_over_rest(client: httpx2.Client, name: str) -> None:
    """They would make grpc refuse the call before its handler, as an internal error."""
    assert client.get("/v1/containers", headers={name: "x"}).status_code == 200


def test_headers_with_names_that_grpc_does_not_allow_mean_nothing(client: httpx2.Client) -> None:
    """HTTP allows more characters in a name than gRPC, which would refuse the call with an internal error."""
    answers = {name: client.get("/v1/containers", headers={name: "1"}).status_code for name in "!#$%&'*+^`|~"}
    assert {name: status for name, status in answers.items() if status != 200} == {}
    assert client.get("/v1/containers", headers={"x~y": "1", "x.y": "1"}).status_code == 200


@pytest.mark.parametrize(("sent", "kept"), [("a b-1", True), ("x" * 128, True), ("x" * 129, False), ("é", False)])
def test_a_request_id_is_the_same_everywhere(watched: Berth, *, sent: str, kept: bool) -> None:
    """One that cannot be logged or sent back is replaced before anything sees it: answer and log say the same."""
    headers = [(b"x-bf-vk", KEY_A.encode()), (b"x-request-id", sent.encode())]
    answered = httpx2.get(f"{watched.rest}/v1/containers/nope", headers=headers, timeout=30).headers["x-request-id"]
    assert (answered == sent) is kept
    watched.lines(event="call.finished", request_id=answered)


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc-web", "application/grpc-web-text"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_grpc_call_is_a_post(client: httpx2.Client, method: str, kind: str) -> None:
    """Any other method is refused for good: a 503 would be repeated."""
    answer = client.request(method, "/v1/containers", headers={"content-type": kind})
    assert answer.status_code == 405 or answer.headers["grpc-status"] == "2"
    assert answer.headers.get("grpc-message") == "A gRPC call must be a POST."
