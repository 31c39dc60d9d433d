"""Idempotency keys when it matters: many at once, a process that is killed, a provider that nobody can ask."""

import asyncio
import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from berth.core.idempotency.leases import LEASE_SECONDS
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.error_pb2 import ErrorReply
from berth.v1.provider_pb2 import Provider
from support.measuring.soak import soak, times
from support.providers.faults import CONTAINER
from support.providers.raw import Behaviour, Exchange, answer, misbehaving
from support.servers.background import in_background
from support.servers.chain import UPSTREAM_KEY, UPSTREAM_SETTINGS, passing_to, upstream
from support.servers.process import BerthProcess, running_berth

KEY = "sk-bf-once"
AUTH = {"virtual_keys": [{"name": "once", "value": KEY, "tenant": "a"}]}
OPENAI = Provider.PROVIDER_OPENAI
AT_ONCE = 100
KEYS, EACH, ROUNDS = 8, 100, times(1, 30)
CREATE_SECONDS = 0.003
UNKNOWN, RUNNING = "idempotency_outcome_unknown", "idempotency_in_progress"


def counting(made: Counter[str]) -> Behaviour:
    """Return a provider that knows no idempotency: it makes what it is asked for, and counts it by name."""

    async def behave(exchange: Exchange) -> None:
        call = exchange.received
        if call.method == "GET":
            container_id = call.path.rpartition("/")[2]
            await answer(200, CONTAINER | {"id": container_id})(exchange)
            return
        name = json.loads(call.body)["name"]
        await asyncio.sleep(random.random() * CREATE_SECONDS)  # noqa: S311 - no secret
        made[name] += 1
        container = CONTAINER | {"id": f"cntr_{name}_{made[name]}", "name": name}
        await asyncio.sleep(random.random() * CREATE_SECONDS)  # noqa: S311 - as above
        await answer(200, container)(exchange)

    return behave


class Place:
    """Where containers are kept: the settings of a Berth before it, and what was made there, by name."""

    def __init__(self, openai: Mapping[str, object], made: Counter[str]) -> None:
        limits = {"in_flight": {"write": 10_000}}  # more than these tests send at once
        self.settings: dict[str, object] = {"auth": AUTH, "limits": limits, "providers": {"openai": openai}}
        self.made = made

    def count(self, berth: BerthProcess) -> Counter[str]:
        """Return how many containers of each name there are."""
        with grpc.insecure_channel(berth.ready["grpc"]) as channel:
            return self.made or _listed(channel, KEY)  # a provider counts by itself


@pytest.fixture(params=["hosted", "postgres", "provider", "berth"])
def kind(request: pytest.FixtureRequest) -> str:
    """Name each kind of place."""
    return request.param  # type: ignore[no-any-return] # pytest's


@pytest.fixture
def there(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> Iterator[Place]:
    """Open a place."""
    with place(kind, tmp_path) as there:
        if kind == "postgres":
            there.settings["store"] = {"url": request.getfixturevalue("postgres").fresh()}
        yield there


@contextmanager
def place(kind: str, folder: Path) -> Iterator[Place]:
    """Open a place of a kind."""
    if kind in ("hosted", "postgres"):
        yield Place({"backend": "hosted"}, Counter())
    elif kind == "provider":
        made: Counter[str] = Counter()
        with in_background(misbehaving(counting(made))) as provider:
            yield Place(passing_to(f"{provider.url}/v1"), made)
    else:
        with upstream(folder, UPSTREAM_SETTINGS) as hosted:
            yield _Berth(passing_to(f"{hosted.rest}/v1", honours_idempotency_keys=True), hosted.grpc)


class _Berth(Place):
    """Another Berth, which is asked for what it has."""

    def __init__(self, openai: Mapping[str, object], address: str) -> None:
        super().__init__(openai, Counter())
        self._address = address

    def count(self, _: BerthProcess) -> Counter[str]:
        with grpc.insecure_channel(self._address) as channel:
            return _listed(channel, UPSTREAM_KEY)


def _listed(channel: grpc.Channel, key: str) -> Counter[str]:
    """Return how many containers of each name a tenant has."""
    stub, request, names = ContainerServiceStub(channel), ListContainersRequest(limit=100), Counter[str]()
    while True:
        page = stub.ListContainers(request, metadata=(("x-bf-vk", key),), timeout=30)
        names.update(container.name for container in page.data)
        if not page.has_more:
            return names
        request.after = page.last_id


def started(channel: grpc.Channel, name: str) -> Any:
    """Begin to create a container with its name for a key."""
    metadata = (("x-bf-vk", KEY), ("idempotency-key", name))
    request = CreateContainerRequest(provider=OPENAI, name=name)
    return ContainerServiceStub(channel).CreateContainer.future(request, metadata=metadata, timeout=30)


def outcome(call: Any) -> str:
    """Return the id of the container, or the code of the refusal; nothing if the connection broke."""
    try:
        made: Container = call.result()
    except grpc.RpcError:
        details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin")
        return ErrorReply.FromString(details).error.code.string_value if details else ""
    return made.id


@contextmanager
def serving(folder: Path, settings: Mapping[str, object]) -> Iterator[BerthProcess]:
    """Run `berth serve` on the same data each time."""
    config = folder / "once.yaml"
    config.write_text(yaml.safe_dump(dict(settings)))
    with running_berth("serve", folder / "data", "--config", str(config)) as berth:
        yield berth


def test_a_hundred_creates_make_one(kind: str, there: Place, tmp_path: Path) -> None:
    """Of a hundred creates at once with one key one is done; the others are told of it, or that it runs."""
    with serving(tmp_path, there.settings) as berth:
        with grpc.insecure_channel(berth.ready["grpc"]) as channel:
            outcomes = Counter(outcome(call) for call in [started(channel, "one") for _ in range(AT_ONCE)])
        made = there.count(berth)
    running = outcomes.pop(RUNNING, 0)
    print(f"{kind}: {AT_ONCE} creates: {made['one']} made, told {sum(outcomes.values())}, still running {running}")  # noqa: T201 - the figures
    assert made == {"one": 1}
    assert len(outcomes) == 1


@soak
@pytest.mark.timeout(3600)
def test_a_kill_makes_no_second_one(kind: str, there: Place, tmp_path: Path) -> None:
    """A hundred creates at once for a key, and kill -9 at random: one is made, or nobody can tell; never two."""
    early: dict[str, set[str]] = {}
    told: dict[str, str] = {}
    tally: Counter[str] = Counter()
    for number in range(ROUNDS):
        names = [f"{number}-{key}" for key in range(KEYS)]
        with serving(tmp_path, there.settings) as berth, grpc.insecure_channel(berth.ready["grpc"]) as channel:
            calls = {name: [started(channel, name) for _ in range(EACH)] for name in names}
            delay = random.random() * 0.15  # noqa: S311 - no secret
            _kill_after(berth, delay)
            early |= {name: {outcome(call) for call in calls[name]} - {"", RUNNING} for name in names}
    # The leases of all who were killed end while this one runs, so there is one wait for them.
    with serving(tmp_path, there.settings) as berth, grpc.insecure_channel(berth.ready["grpc"]) as channel:
        for name, before in early.items():
            told[name] = _settled(channel, name)
            assert before <= {told[name]}, "an answer changed"
            tally["told before" if before else "told after"] += 1
        made = there.count(berth)
    unknown = {name for name, what in told.items() if what == UNKNOWN}
    print(f"{kind}: {len(told)} keys over {ROUNDS} kills: {dict(tally)}, {len(unknown)} that nobody can tell")  # noqa: T201 - the figures
    assert {name: made[name] for name in told if name not in unknown} == dict.fromkeys(set(told) - unknown, 1)
    assert all(made[name] <= 1 for name in unknown)
    assert all(what.startswith("cntr_") for name, what in told.items() if name not in unknown)
    assert not unknown or kind == "provider"


def _kill_after(berth: BerthProcess, seconds: float) -> None:
    try:
        berth.process.wait(seconds)
    except subprocess.TimeoutExpired:
        berth.process.kill()
    berth.process.wait(30)


def _settled(channel: grpc.Channel, name: str) -> str:
    """Send a create until it is told for good; that takes no longer than a lease."""
    for _ in range(LEASE_SECONDS * 10):
        what = outcome(started(channel, name))
        if what not in ("", RUNNING):
            return what
        time.sleep(0.2)
    raise AssertionError(f"{name} was never settled")
