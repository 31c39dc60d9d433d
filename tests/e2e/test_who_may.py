"""Who may do what: every operation, with every way to say who one is, in every state that a credential can be in."""

import base64
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import grpc
import httpx2
import pytest

from berth.rest.view import load_contract
from support.clients.operations import ANYWHERE, OK, OPERATIONS, REFERRING, Caller, Outcome, Place, over_grpc, over_rest
from support.servers.berth import Berth, environment, running
from support.servers.exec_program import PROGRAM
from support.servers.starting import command

PAST = "2020-01-01T00:00:00Z"
KEYS = {
    "right": "sk-bf-right",
    "blocked provider": "sk-bf-only-groq",
    "inactive": "sk-bf-inactive",
    "expired": "sk-bf-expired",
    "another tenant's": "sk-bf-stranger",
}
USERS = {"right": "owner:right", "blocked provider": "groq:right", "another tenant's": "stranger:right"}
SETTINGS = {
    "exec": {"accept_shared_kernel": True},
    "auth": {
        "free_failures_per_minute": 1_000_000,
        "virtual_keys": [
            {"name": "right", "value": KEYS["right"], "tenant": "a"},
            {"name": "groq", "value": KEYS["blocked provider"], "tenant": "a", "providers": ["groq"]},
            {"name": "inactive", "value": KEYS["inactive"], "tenant": "a", "active": False},
            {"name": "expired", "value": KEYS["expired"], "tenant": "a", "expires": PAST},
            {"name": "stranger", "value": KEYS["another tenant's"], "tenant": "b"},
        ],
        "basic_users": [
            {"name": "owner", "password": "right", "tenant": "a"},
            {"name": "groq", "password": "right", "tenant": "a", "providers": ["groq"]},
            {"name": "stranger", "password": "right", "tenant": "b"},
        ],
    },
}
KEY_SCHEMES = {
    "x-bf-vk": ("x-bf-vk", "{}"),
    "Bearer": ("authorization", "Bearer {}"),
    "x-api-key": ("x-api-key", "{}"),
    "x-goog-api-key": ("x-goog-api-key", "{}"),
    "api-key": ("api-key", "{}"),
}
REFUSALS = {
    "none": Outcome(401, "virtual_key_required", "virtual_key_required"),
    "wrong": Outcome(401, "virtual_key_not_found", "virtual_key_not_found"),
    "revoked": Outcome(401, "virtual_key_not_found", "virtual_key_not_found"),
    "inactive": Outcome(403, "virtual_key_blocked", "virtual_key_blocked"),
    "expired": Outcome(403, "virtual_key_blocked", "virtual_key_blocked"),
    "blocked provider": Outcome(403, "provider_blocked", "provider_blocked"),
}
NO_USER = Outcome(401, "basic_user_not_found", "basic_user_not_found")
NOT_FOUND = Outcome(404, "invalid_request_error", None)
NO_SUCH_VALUE = Outcome(400, "invalid_request_error", "invalid_value")
STATES = (*REFUSALS, "right", "another tenant's")
CASES = [(scheme, state) for scheme in KEY_SCHEMES for state in STATES] + [
    ("Basic", state) for state in ("none", "wrong", *USERS)
]


def keys(berth_folder: Path, *arguments: str) -> str:
    """Run `berth keys` beside the running Berth; return what it prints."""
    options = ("--config", str(berth_folder / "berth.yaml"), "--data-dir", str(berth_folder / "data"))
    done = subprocess.run(
        command("keys", *arguments, *options), capture_output=True, text=True, timeout=60, check=True, env=environment()
    )
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("who")


@pytest.fixture(scope="module")
def berth(folder: Path) -> Iterator[Berth]:
    with running(folder, SETTINGS, program=PROGRAM) as berth:
        yield berth


@pytest.fixture(scope="module")
def revoked(berth: Berth, folder: Path) -> str:
    """Return a key that was made, has worked, and was revoked."""
    key = keys(folder, "create", "--name", "leaver", "--tenant", "a").strip()
    url, sent = f"{berth.rest}/v1/containers", {"x-bf-vk": key}
    assert httpx2.get(url, headers=sent, timeout=30).status_code == 200
    keys(folder, "revoke", "leaver")
    deadline = time.monotonic() + 5 + 5  # as is promised, and what a busy machine takes to see it
    while httpx2.get(url, headers=sent, timeout=30).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return key


@pytest.fixture(scope="module")
def owner(berth: Berth) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=berth.rest, headers={"x-bf-vk": KEYS["right"]}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def stranger(berth: Berth) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=berth.rest, headers={"x-bf-vk": KEYS["another tenant's"]}, timeout=60) as client:
        yield client


@pytest.fixture(params=["rest", "grpc"])
def call(request: pytest.FixtureRequest, berth: Berth) -> Iterator[Caller]:
    if request.param == "rest":
        with httpx2.Client(base_url=berth.rest, timeout=60) as client:
            yield over_rest(client)
    else:
        with grpc.insecure_channel(berth.grpc) as channel:
            yield over_grpc(channel)


def new_container(client: httpx2.Client) -> str:
    container: str = client.post("/v1/containers", json={"provider": "ollama", "name": "home"}).json()["id"]
    return container


@pytest.fixture
def place(owner: httpx2.Client) -> Place:
    """Return a new container of tenant a, with a file and a command in it, a file in none, and another container."""
    container = new_container(owner)
    file = owner.post(f"/v1/containers/{container}/files?filename=x", content=b"secret").json()["id"]
    form = {"provider": "ollama", "purpose": "batch"}
    loose = owner.post("/v1/files", files={"file": ("x", b"as secret")}, data=form).json()["id"]
    ran = owner.post(f"/v1/containers/{container}/execs", json={"command": "true"}).json()["id"]
    return Place(container, file, loose, new_container(owner), ran)


def headers(scheme: str, state: str, revoked: str) -> Mapping[str, str]:
    """Return what says who is calling."""
    if state == "none":
        return {}
    if scheme == "Basic":
        return {"authorization": f"Basic {base64.b64encode(USERS.get(state, 'owner:wrong').encode()).decode()}"}
    name, form = KEY_SCHEMES[scheme]
    return {name: form.format(KEYS.get(state, revoked if state == "revoked" else "sk-bf-nobody"))}


def expected(operation: str, scheme: str, state: str) -> Outcome:
    """Return what must become of a call on a place of tenant a."""
    if state == "another tenant's":
        return OK if operation in ANYWHERE else NO_SUCH_VALUE if operation in REFERRING else NOT_FOUND
    if scheme == "Basic" and state == "wrong":
        return NO_USER
    return REFUSALS.get(state, OK)


def everything(owner: httpx2.Client, place: Place) -> tuple[object, ...]:
    """Return all that can be seen of tenant a, but for when it was used last."""
    containers = [item["id"] for item in owner.get("/v1/containers?limit=100").json()["data"]]
    files = owner.get(f"/v1/containers/{place.container}/files").json()["data"]
    copies = owner.get(f"/v1/containers/{place.target}/files").json()["data"]
    content = owner.get(f"/v1/containers/{place.container}/files/{place.file}/content").content
    loose = owner.get("/v1/files").json()["data"]
    execs = owner.get(f"/v1/containers/{place.container}/execs").json()["data"]
    return containers, files, copies, content, (loose, execs), owner.get(f"/v1/files/{place.loose}/content").content


def test_the_table_has_every_method() -> None:
    """A method of the contract that nobody asked who may use it is missing here."""
    ours = [file for file in load_contract().file if file.package == "berth.v1"]
    methods = {method.name for file in ours for service in file.service for method in service.method}
    assert {operation.method for operation in OPERATIONS} == methods


@pytest.mark.parametrize(("scheme", "state"), CASES)
def test_every_operation_asks_who_is_calling(
    call: Caller, owner: httpx2.Client, stranger: httpx2.Client, place: Place, revoked: str, scheme: str, state: str
) -> None:
    """The right caller gets through, everybody else gets the refusal that is meant for them, and nothing happens."""
    before = everything(owner, place)
    assert (before[3], before[5]) == (b"secret", b"as secret")
    # Whoever is another tenant copies into a container of its own, where nothing but the file is in the way.
    reached = place._replace(target=new_container(stranger)) if state == "another tenant's" else place
    sent = headers(scheme, state, revoked)
    outcomes = {operation.name: call(operation, reached, sent) for operation in OPERATIONS}
    assert outcomes == {operation.name: expected(operation.name, scheme, state) for operation in OPERATIONS}
    if state != "right":
        assert everything(owner, place) == before
    if state == "another tenant's":
        assert stranger.get(f"/v1/containers/{reached.target}/files").json()["data"] == []
