"""Who reaches what in accounts at a provider: what Berth created, what it did not, and what is another tenant's.

Every row of the matrix counts the calls to the provider: one for each request that goes there, and none for others.
"""

import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import yaml
from openai import OpenAI

from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.provider_pb2 import Provider
from support.clients.commands import Shell
from support.clients.polling import wait_until
from support.providers.plain import CONTENT, Plain, plain_provider
from support.servers.background import in_background
from support.servers.berth import Berth, running

SHARED_A, SHARED_B, RESERVED, LIMITED = "sk-bf-shared-a", "sk-bf-shared-b", "sk-bf-reserved", "sk-bf-limited"
DIRECT, ROTATED = "sk-proj-of-mine", "sk-proj-rotated"
FIRST = {SHARED_A: "sk-shared", SHARED_B: "sk-shared", RESERVED: "sk-first", DIRECT: DIRECT, ROTATED: ROTATED}
"""The key that the provider is asked with for an unknown id, by the key of the caller."""
UPSTREAM = {key: {upstream} for key, upstream in FIRST.items()} | {RESERVED: {"sk-first", "sk-second"}}
OWN = (DIRECT, RESERVED)
KEYS = [
    {"name": "shared", "value": "sk-shared"},
    {"name": "first", "value": "sk-first", "tenant": "r"},
    {"name": "second", "value": "sk-second", "tenant": "r"},
]
VIRTUAL = [
    {"name": "a", "value": SHARED_A, "tenant": "a"},
    {"name": "b", "value": SHARED_B, "tenant": "b"},
    {"name": "r", "value": RESERVED, "tenant": "r"},
    {"name": "limited", "value": LIMITED, "tenant": "r", "providers": ["ollama"]},
]
OPERATIONS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "retrieve": ("GET", "/containers/{c}", {}),
    "delete": ("DELETE", "/containers/{c}", {}),
    "list files": ("GET", "/containers/{c}/files", {}),
    "upload": ("POST", "/containers/{c}/files", {"files": {"file": ("x", b"x")}}),
    "copy": ("POST", "/containers/{c}/files", {"json": {"file_id": "{f}"}}),
    "retrieve file": ("GET", "/containers/{c}/files/cfile_1", {}),
    "download": ("GET", "/containers/{c}/files/cfile_1/content", {}),
    "delete file": ("DELETE", "/containers/{c}/files/cfile_1", {}),
    "retrieve loose": ("GET", "/files/{f}", {}),
    "download loose": ("GET", "/files/{f}/content", {}),
    "delete loose": ("DELETE", "/files/{f}", {}),
    "create with files": ("POST", "/containers", {"json": {"name": "new", "file_ids": ["{f}"]}}),
}
every_operation = pytest.mark.parametrize("name", OPERATIONS)


@dataclass(frozen=True)
class Place:
    """A Berth in front of a provider that has every id, and the folder of its data."""

    berth: Berth
    provider: Plain
    folder: Path
    client: httpx2.Client

    def get(self, key: str, path: str, **headers: str) -> httpx2.Response:
        """Send a GET with a key."""
        return self.client.get(path, headers={"authorization": f"Bearer {key}"} | headers)

    def send(self, key: str, name: str, container: str, file: str, query: str = "") -> tuple[int, list[str]]:
        """Call an operation; return the status, and the keys of the calls that the provider got."""
        verb, path, body = OPERATIONS[name]
        filled = {"json": _filled(body["json"], file)} if "json" in body else body
        before = len(self.provider.asked)
        url = "/openai/v1" + path.format(c=container, f=file) + query
        answer = self.client.request(verb, url, headers={"authorization": f"Bearer {key}"}, **filled)
        return answer.status_code, [asked.key for asked in self.provider.asked[before:]]

    def create(self, key: str, provider: str = "openai") -> tuple[str, str]:
        """Create a container and a file through Berth; return their ids."""
        headers, form = {"authorization": f"Bearer {key}"}, {"purpose": "batch", "provider": provider}
        made = self.client.post("/v1/containers", headers=headers, json={"name": "mine", "provider": provider})
        file = self.client.post("/v1/files", headers=headers, files={"file": ("x", b"x")}, data=form)
        return made.json()["id"], file.json()["id"]

    def rows(self, container: str) -> list[tuple[str, str, bool]]:
        """Return the tenant, the key and whether it was adopted, of each row of a container."""
        query = "SELECT tenant, key_name, adopted_at IS NOT NULL FROM containers WHERE id = ? AND deleted_at IS NULL"
        with closing(sqlite3.connect(self.folder / "data" / "berth.db")) as connection:
            rows = connection.execute(query, (container,)).fetchall()
        return [(tenant.partition("-")[0], key, bool(adopted)) for tenant, key, adopted in rows]


def _filled(body: dict[str, Any], file: str) -> dict[str, Any]:
    return {name: [file] if name == "file_ids" else file if name == "file_id" else it for name, it in body.items()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("own")
    with in_background(plain_provider()) as provider:
        openai = {"backend": "openai", "base_url": provider.url, "keys": KEYS}
        opened = openai | {"keys": [KEYS[0]], "unknown_containers": "shared"}
        auth = {"allow_direct_keys": True, "virtual_keys": VIRTUAL}
        with (
            running(folder, {"providers": {"openai": openai, "groq": opened}, "auth": auth}) as berth,
            httpx2.Client(base_url=berth.rest, timeout=30) as client,
        ):
            yield Place(berth, provider, folder, client)


@every_operation
@pytest.mark.parametrize("key", [*OWN, SHARED_A])
def test_the_matrix(place: Place, key: str, name: str) -> None:
    """In an own account the provider is asked once for an unknown id, adopted by others or not; else never."""
    is_file = "loose" in name or "with files" in name or name == "copy"
    asked, never = (200, 1), (400 if name in {"copy", "create with files"} else 404, 0)
    own, theirs = place.create(key), place.create(SHARED_B)
    unknown = (f"cntr_{name}_{key}".replace(" ", "_"), f"file-{name}-{key}".replace(" ", "-"))
    adopted = (f"{unknown[0]}_theirs", f"{unknown[1]}-theirs")
    assert (
        place.send(ROTATED, "retrieve", *adopted) == place.send(ROTATED, "retrieve loose", *adopted) == (200, [ROTATED])
    )
    for other, expected in (
        (own, asked),
        (unknown, asked if key in OWN else never),
        (adopted, asked if key in OWN else never),
        (theirs, never),
    ):
        status, keys = place.send(key, name, *((own[0], other[1]) if is_file else (other[0], own[1])))
        assert (status, len(keys)) == expected
        assert set(keys) <= UPSTREAM[key]


@pytest.mark.parametrize("key", OWN)
def test_a_container_is_adopted_once(place: Place, key: str) -> None:
    """The first operation on a container writes its row, the audit trail says so, and the next ones use the row."""
    container = f"cntr_adopted_by_{key}"
    for name in ("download", "list files", "retrieve", "retrieve"):
        assert place.send(key, name, container, "") == (200, [FIRST[key]])
    tenant = "r" if key == RESERVED else "direct"
    assert place.rows(container) == [(tenant, "first" if key == RESERVED else "direct", True)]
    (line,) = place.berth.lines(event="container.adopted", container_id=container)
    assert (line["audit"], line["provider"], line["id"]) == (True, "openai", container)
    assert line["request_id"]
    assert line["source"].startswith("127.0.0.1")


@pytest.mark.parametrize("key", OWN)
@pytest.mark.parametrize("name", ["create with files", "copy"])
def test_a_file_that_is_copied_is_adopted(place: Place, key: str, name: str) -> None:
    """A file that Berth does not know has a row once the provider has copied it, and none if that fails."""
    container, _ = place.create(key)
    file = f"file-copied-by-{name}-{key}".replace(" ", "-")
    place.provider.missing.add(container)
    if name == "copy":
        assert place.send(key, name, container, file)[0] == 404
        assert place.berth.lines(event="file.adopted", id=file, count=0) == []
    place.provider.missing.remove(container)
    for _ in range(2):
        assert place.send(key, name, container, file)[0] == 200
    (line,) = place.berth.lines(event="file.adopted", id=file)
    assert (line["audit"], line["provider"]) == (True, "openai")
    assert file not in [listed["id"] for listed in place.get(SHARED_A, "/openai/v1/files").json()["data"]]


def test_each_tenant_adopts_for_itself(place: Place) -> None:
    """A caller with a rotated key, and two tenants that share an account, have a row each."""
    for key in (DIRECT, ROTATED, RESERVED):
        assert place.send(key, "retrieve", "cntr_of_many", "") == (200, [FIRST[key]])
    assert sorted(place.rows("cntr_of_many")) == [
        *[("direct", "direct", True)] * 2,
        ("r", "first", True),
    ]
    assert place.send(SHARED_A, "retrieve", "cntr_of_many", "") == (404, [])


def test_the_providers_own_error_comes_back(place: Place) -> None:
    """What the provider does not have is its 404, asked for once, and leaves no row; a row goes with the 404."""
    place.provider.missing.add("cntr_missing")
    answer = place.get(DIRECT, "/openai/v1/containers/cntr_missing")
    error = answer.json()["error"]
    assert (answer.status_code, error["message"], error["code"]) == (404, "Not here.", "gone")
    assert place.rows("cntr_missing") == []
    assert place.get(DIRECT, "/openai/v1/containers/cntr_expiring").status_code == 200
    assert len(place.rows("cntr_expiring")) == 1
    place.provider.missing.add("cntr_expiring")
    assert place.get(DIRECT, "/openai/v1/containers/cntr_expiring").status_code == 404
    assert place.rows("cntr_expiring") == []


def test_a_container_that_is_gone_is_gone_in_a_shared_account(place: Place) -> None:
    """The row of what the provider has deleted goes with the next answer, and then it is not asked for."""
    for name in ("retrieve", "list files", "delete", "retrieve loose", "download loose", "delete loose"):
        container, file = place.create(SHARED_A)
        place.provider.missing |= {container, file}
        assert place.send(SHARED_A, name, container, file) == (404, ["sk-shared"])
        assert place.send(SHARED_A, name, container, file) == (404, [])


@pytest.mark.parametrize("key", OWN)
def test_lists_are_the_providers(place: Place, key: str) -> None:
    """Lists in an own account are asked for with all parameters but Berth's own, and those of a shared one never."""
    lists = {
        "/v1/containers?provider=openai&limit=0&after=x&order=asc&name=a%20b&status=running&include=bytes": (
            "/v1/containers?limit=0&after=x&order=asc&name=a+b&status=running"
        ),
        "/openai/v1/containers/cntr_listing/files?limit=7&after=y&order=desc": (
            "/v1/containers/cntr_listing/files?limit=7&after=y&order=desc"
        ),
        "/openai/v1/files?limit=3&after=z&order=asc&purpose=batch": (
            "/v1/files?limit=3&after=z&order=asc&purpose=batch"
        ),
    }
    for ours, theirs in lists.items():
        before = len(place.provider.asked)
        page = place.get(key, ours).json()
        assert [item["id"].endswith("listed") for item in page["data"]] == [True]
        assert [(asked.target, asked.key) for asked in place.provider.asked[before:]] == [(theirs, FIRST[key])]
    before = len(place.provider.asked)
    refusal = place.get(key, "/openai/v1/containers?include=size")
    assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "include")
    shared = place.get(SHARED_B, "/openai/v1/containers?include=bytes").json()
    assert not [item for item in shared["data"] if "bytes" in item]
    assert not [item for item in shared["data"] if item["id"].endswith("listed")]
    assert len(place.provider.asked) == before


def test_without_a_provider_the_only_own_account_is_asked(place: Place) -> None:
    """A request that names none goes to the caller's only own account; one that names another finds nothing."""
    assert place.get(RESERVED, "/v1/containers/cntr_unnamed").json()["provider"] == "openai"
    assert place.get(RESERVED, "/v1/files/file-unnamed").status_code == 200
    before = len(place.provider.asked)
    assert place.get(RESERVED, "/v1/containers/cntr_unnamed?provider=ollama").status_code == 404
    assert place.get(DIRECT, "/v1/containers/cntr_unnamed").status_code == 401  # this key may be for either provider
    assert place.get(LIMITED, "/openai/v1/containers/cntr_other").status_code == 403
    assert place.get(LIMITED, "/v1/containers/cntr_other").status_code == 404
    assert len(place.provider.asked) == before


@pytest.mark.parametrize("name", ["retrieve", "retrieve loose"])
def test_an_id_that_is_gone_may_be_at_another_provider(place: Place, name: str) -> None:
    """What a tenant has at one provider is not asked for at another one; once it is deleted, it is unknown again."""
    kind, other = name.removeprefix("retrieve"), "?provider=groq"
    for gone in (True, False):
        ids = f"cntr_moved_{gone}", f"file-moved-{gone}"
        assert place.send(RESERVED, name, *ids) == (200, ["sk-first"])
        assert place.send(RESERVED, name, *ids, other) == (404, [])
        if gone:
            assert place.send(RESERVED, f"delete{kind}", *ids) == (200, ["sk-first"])
            assert place.send(RESERVED, name, *ids, other) == (200, ["sk-shared"])
            assert place.send(RESERVED, name, *ids, "?provider=openai") == (404, [])
            assert place.send(RESERVED, name, *ids) == (200, ["sk-shared"])


def test_a_reserved_key_creates(place: Place) -> None:
    """What the tenant of a reserved key creates is created with one of its keys, and nobody else uses these."""
    before = len(place.provider.asked)
    container, _ = place.create(RESERVED)
    place.create(SHARED_A)
    keys = [asked.key for asked in place.provider.asked[before:]]
    assert set(keys[:2]) <= {"sk-first", "sk-second"}
    assert keys[2:] == ["sk-shared"] * 2
    assert place.rows(container)[0][2] is False


def test_a_file_of_the_responses_api(place: Place, tmp_path: Path) -> None:
    """A file in a container that was created at the provider is fetched over REST, gRPC, the SDK and the command."""
    container, file = "cntr_of_responses", "cfile_of_responses"
    before = len(place.provider.asked)
    assert place.get(RESERVED, f"/v1/containers/{container}/files/{file}/content").content == CONTENT
    with OpenAI(base_url=f"{place.berth.rest}/openai/v1", api_key=DIRECT, max_retries=0) as sdk:
        assert sdk.containers.files.content.retrieve(file, container_id=container).content == CONTENT
    request = RetrieveContainerFileContentRequest(
        container_id=container, file_id=file, provider=Provider.PROVIDER_OPENAI
    )
    with grpc.insecure_channel(place.berth.grpc) as channel:
        key = (("authorization", f"Bearer {DIRECT}"),)
        parts = ContainerFileServiceStub(channel).RetrieveContainerFileContent(request, metadata=key, timeout=30)
        assert b"".join(part.data for part in parts) == CONTENT
    shell = Shell(tmp_path, {"BERTH_SERVER": place.berth.grpc, "BERTH_KEY": RESERVED})
    shell.ask("files", "download", file, "--container", container, "--output", "a.csv")
    assert (tmp_path / "a.csv").read_bytes() == CONTENT
    asked = [asked.target for asked in place.provider.asked[before:]]
    assert asked == [f"/v1/containers/{container}/files/{file}/content"] * 4


def test_an_answer_with_news(place: Place) -> None:
    """Values that Berth does not know break no answer and are left out, and new fields are in the raw response."""
    policy = {"type": "audited", "auditor": "x"}
    place.provider.extra.update({"status": "hibernating", "gpu": {"count": 1}, "network_policy": policy})
    wants_raw = {"x-bf-send-back-raw-response": "true"}
    try:
        container = place.get(DIRECT, "/openai/v1/containers/cntr_news", **wants_raw).json()
        page = place.get(DIRECT, "/openai/v1/containers", **wants_raw).json()
    finally:
        place.provider.extra.clear()
    assert (container["id"], container.keys() & {"status", "network_policy"}) == ("cntr_news", set())
    raw = container["extra_fields"]["raw_response"]
    assert (raw["status"], raw["gpu"], raw["network_policy"]) == ("hibernating", {"count": 1}, policy)
    assert page["data"][0]["name"] == "box"
    assert page["data"][0].keys() & {"status", "network_policy"} == set()
    assert page["extra_fields"]["raw_response"]["data"][0]["status"] == "hibernating"


def test_a_reload_replaces_keys(place: Place) -> None:
    """SIGHUP applies keys, reserved or not, all or none, and the log names them; those of a removed provider remain."""
    file = place.folder / "berth.yaml"
    text = file.read_text()
    settings = yaml.safe_load(text)
    openai = settings["providers"]["openai"]
    openai["keys"] = [KEYS[0], KEYS[1] | {"value": "sk-renewed"}, {"name": "of-b", "value": "sk-of-b", "tenant": "b"}]
    assert place.send(SHARED_B, "retrieve", "cntr_reloaded", "") == (404, [])
    assert place.send(RESERVED, "retrieve", "cntr_reloaded", "") == (200, ["sk-first"])
    try:
        file.write_text(yaml.safe_dump(settings))
        event = _reload(place)
        assert event["added"] == ["providers.openai.keys.of-b"]
        assert event["removed"] == ["providers.openai.keys.second"]
        assert event["changed"] == ["providers.openai.keys.first"]
        assert event["needs_restart"] == []
        file.write_text(yaml.safe_dump(settings | {"providers": {"openai": openai | {"keys": [{"name": "x"}]}}}))
        assert _reload(place)["event"] == "auth.reload_failed"
        file.write_text(yaml.safe_dump(settings | {"providers": {"openai": openai}}))
        event = _reload(place)
        assert (event["removed"], event["needs_restart"]) == ([], ["providers"])
        assert place.send(SHARED_B, "retrieve", "cntr_reloaded", "") == (200, ["sk-of-b"])
        assert place.send(RESERVED, "retrieve", "cntr_reloaded", "") == (200, ["sk-renewed"])
    finally:
        file.write_text(text)
        _reload(place)
    assert place.send(SHARED_B, "retrieve", "cntr_other_reloaded", "") == (404, [])
    assert "sk-of-b" not in place.berth.log.read_text()


def test_a_reload_moves_an_account(place: Place) -> None:
    """With a key a tenant gets nothing that Berth created for others with it, and these read nothing from the cache."""
    file, cached = place.folder / "berth.yaml", {"x-bf-cache-key": "moved"}
    text = file.read_text()
    settings = yaml.safe_load(text)
    moved = [KEYS[0] | {"tenant": "b"}, KEYS[1] | {"tenant": "b"}, {"name": "rest", "value": "sk-rest"}]
    settings["providers"]["openai"]["keys"] = moved
    (of_a, file_of_a), (of_r, file_of_r) = place.create(SHARED_A), place.create(RESERVED)
    path = "/openai/v1/containers/cntr_moved/files/cfile_1"
    assert [place.get(RESERVED, path, **cached).status_code for _ in range(2)] == [200, 200]
    try:
        file.write_text(yaml.safe_dump(settings))
        _reload(place)
        assert place.send(SHARED_B, "retrieve", "cntr_moved", "") == (200, ["sk-shared"])
        for container, loose in ((of_a, file_of_a), (of_r, file_of_r)):
            assert place.send(SHARED_B, "retrieve", container, "") == (404, [])
            assert place.send(SHARED_B, "retrieve loose", "", loose) == (404, [])
        assert place.get(RESERVED, path, **cached).status_code == 404
    finally:
        file.write_text(text)
        _reload(place)


def _reload(place: Place) -> dict[str, Any]:
    """Send SIGHUP; return the event that it leads to."""

    def events() -> list[dict[str, Any]]:
        return [line for line in place.berth.lines(0) if line["event"] in {"auth.reloaded", "auth.reload_failed"}]

    before = len(events())
    place.berth.process.send_signal(signal.SIGHUP)
    wait_until(lambda: len(events()) > before)
    return events()[-1]


def test_an_opened_account(place: Place) -> None:
    """With `unknown_containers: shared` every tenant reaches what none created through Berth, after a warning."""
    for key in (SHARED_A, SHARED_B, SHARED_A):
        assert place.send(key, "retrieve", "cntr_open", "", "?provider=groq") == (200, ["sk-shared"])
    assert sorted(place.rows("cntr_open")) == [("a", "shared", True), ("b", "shared", True)]
    container, file = place.create(SHARED_A, "groq")
    assert place.send(SHARED_B, "download", container, "", "?provider=groq") == (404, [])
    assert place.send(SHARED_B, "retrieve loose", "", file, "?provider=groq") == (404, [])
    (line,) = place.berth.lines(event="provider.unknown_containers_shared")
    assert (line["level"], line["provider"]) == ("warning", "groq")
