"""Web pages, the OpenAPI document and the health over REST: no key is needed for them."""

import gzip
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from http import HTTPStatus
from urllib.parse import urljoin

import httpx2
import pytest
from openapi_spec_validator import validate

from berth.web.site import site_files
from support.servers.berth import Berth

PAGES = sorted(site_files())
ALWAYS = {"content-type", "content-length", "transfer-encoding", "date", "connection"}
"""Headers of HTTP itself, which the document need not describe."""
HOSTILE = b"<svg xmlns='http://www.w3.org/2000/svg'><script>fetch('/v1/containers')</script></svg>"


@pytest.fixture(scope="module")
def stranger(berth: Berth) -> Iterator[httpx2.Client]:
    """Return a client without a key."""
    with httpx2.Client(base_url=berth.rest, timeout=60) as client:
        yield client


class Links(HTMLParser):
    """What a page loads and links to, and whether there is code in it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.urls += [url for name in ("href", "src") if (url := values.get(name))]
        self.inline += [name for name in values if name.startswith("on") or name == "style"]
        if tag == "style" or (tag == "script" and "src" not in values):
            self.inline.append(tag)


@pytest.mark.parametrize("refusal", ["gzip;q=0", "br, GZIP ; q=0.000", "gzip;q=0."])
def test_a_page_is_not_compressed_for_those_who_refuse_it(stranger: httpx2.Client, refusal: str) -> None:
    """A quality of zero refuses gzip, however it is written; a small one does not."""
    assert "content-encoding" not in stranger.get("/docs", headers={"accept-encoding": refusal}).headers
    assert stranger.get("/docs", headers={"accept-encoding": "gzip;q=0.01"}).headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_its_file(stranger: httpx2.Client, path: str) -> None:
    """Every page is sent as it is, compressed if that is accepted, and with headers that confine it."""
    content = site_files()[path].read_bytes()
    plain = stranger.get(path, headers={"accept-encoding": "identity"})
    packed = stranger.get(path, headers={"accept-encoding": "br, gzip;q=0.5"})
    assert (plain.content, packed.content) == (content, content)
    assert (packed.headers["content-encoding"], "content-encoding" in plain.headers) == ("gzip", False)
    assert int(packed.headers["content-length"]) == len(gzip.compress(content, mtime=0))
    assert int(plain.headers["content-length"]) == len(content)
    for answer in (plain, packed):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "'unsafe" not in answer.headers["content-security-policy"]
        assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
        isolated = path.startswith("/console") == ("trusted-types 'none'" in answer.headers["content-security-policy"])
        assert isolated
        assert answer.headers["cache-control"] in {"no-cache", "public, max-age=3600"}


@pytest.mark.parametrize("path", PAGES)
def test_an_unchanged_page_is_not_sent_again(stranger: httpx2.Client, path: str) -> None:
    """A caller who sends the ETag of a page gets a 304 without a body; HEAD has the headers of GET."""
    first = stranger.head(path)
    assert (first.status_code, first.content) == (HTTPStatus.OK, b"")
    assert first.headers["content-length"] == stranger.get(path).headers["content-length"]
    again = stranger.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (HTTPStatus.NOT_MODIFIED, b"")


@pytest.mark.parametrize("path", [path for path in PAGES if site_files()[path].suffix == ".html"])
def test_a_page_needs_nothing_else(stranger: httpx2.Client, path: str) -> None:
    """A page links only to what is there, on this host, and has no code or style in itself."""
    links = Links(stranger.get(path).text)
    assert links.inline == []
    for url in links.urls:
        assert not re.match(r"\w+:|//", url)
        assert stranger.get(urljoin(path, url)).status_code == HTTPStatus.OK


def test_the_document_is_served(stranger: httpx2.Client) -> None:
    """The OpenAPI document is served as JSON and is valid."""
    answer = stranger.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    validate(answer.json())


@pytest.mark.parametrize(
    "path",
    [
        "/docs/x",
        "/docs/",
        "/console/x",
        "/docs/..%2fsite.py",
        "/docs/%2e%2e",
        "/Docs",
        "/console/api",
        "/console/api/x.js",
        "/console/api/../../site.py",
    ],
)
def test_an_unknown_page_is_a_404(stranger: httpx2.Client, path: str) -> None:
    """What is no page is a 404 in the envelope of all errors, and no file outside of the site is read."""
    answer = stranger.get(path)
    assert answer.status_code == HTTPStatus.NOT_FOUND
    assert answer.json()["error"]["code"] == "unknown_url"


@pytest.mark.parametrize("path", ["/", "/docs", "/docs/site.css", "/openapi.json", "/healthz", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_pages_are_only_read(stranger: httpx2.Client, path: str, method: str) -> None:
    """Another method than GET and HEAD is a 405 that names both."""
    answer = stranger.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (HTTPStatus.METHOD_NOT_ALLOWED, "GET, HEAD")


def test_each_header_is_in_the_document(client: httpx2.Client, stranger: httpx2.Client, container: str) -> None:
    """Answers and errors have no header that the document does not describe for their status."""
    file = client.post(f"/v1/containers/{container}/files", params={"file_path": "a"}, content=b"hello").json()["id"]
    files = "/v1/containers/{container_id}/files"
    one, content = f"{files}/{{file_id}}", f"{files}/{{file_id}}/content"
    calls = [
        ("/v1/containers", client, {}),
        ("/v1/containers", client, {"idempotency-key": ""}),
        ("/v1/containers", stranger, {}),
        (files, client, {}),
        (one, client, {"x-bf-cache-key": "a"}),
        (content, client, {}),
        (content, client, {"range": "bytes=1-2"}),
        (content, client, {"range": "bytes=9-"}),
        (content, client, {"if-match": '"another"'}),
    ]
    document = stranger.get("/openapi.json").json()
    statuses = set()
    for path, sender, headers in calls:
        answer = sender.get(path.format(container_id=container, file_id=file), headers=headers)
        described = document["paths"][path]["get"]["responses"][str(answer.status_code)]
        described = document["components"]["responses"].get(described.get("$ref", "").rpartition("/")[2], described)
        assert set(answer.headers) <= ALWAYS | {name.lower() for name in described["headers"]}, answer
        statuses.add(answer.status_code)
    assert statuses == {200, 206, 400, 401, 412, 416}


def test_the_health_is_told(stranger: httpx2.Client) -> None:
    """A healthy service says so, with the names of what it checked."""
    alive, ready = stranger.get("/healthz"), stranger.get("/readyz")
    checks = {"store": "ok", "content": "ok", "listener": "ok"}
    assert (alive.status_code, alive.json()) == (HTTPStatus.OK, {"status": "ok"})
    assert (ready.status_code, ready.json()) == (HTTPStatus.OK, {"status": "ok", "checks": checks})
    assert {alive.headers["cache-control"], ready.headers["cache-control"]} == {"no-store"}


@pytest.mark.parametrize("media_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript"])
def test_a_hostile_upload_stays_a_file(client: httpx2.Client, container: str, media_type: str) -> None:
    """A browser saves a page or picture with code in it; if it showed it, nothing in it could run."""
    places = [f"/v1/containers/{container}/files", "/v1/files"]
    options = [{"filename": "x.html"}, {"filename": "x.svg", "purpose": "user_data", "provider": "ollama"}]
    for place, query in zip(places, options, strict=True):
        made = client.post(place, params=query, content=HOSTILE, headers={"content-type": media_type}).json()
        answer = client.get(f"{place}/{made['id']}/content")
        assert (answer.content, answer.headers["content-type"]) == (HOSTILE, media_type)
        assert answer.headers["content-disposition"].startswith("attachment;")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
