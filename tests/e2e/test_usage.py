"""What callers and operators see of usage, and what a budget refuses, through Envoy and on the command line."""

import asyncio
import csv
import io
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import grpc
import httpx2
import pytest

from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from berth.v1.usage_service_pb2 import ListUsageRequest
from berth.v1.usage_service_pb2_grpc import UsageServiceStub
from support.clients.polling import wait_until
from support.providers.plain import plain_provider
from support.providers.raw import Behaviour, Exchange, answer, misbehaving
from support.providers.small import small_provider
from support.servers.background import in_background
from support.servers.berth import Berth, running
from support.servers.chain import passing_to
from support.servers.postgres import Postgres
from support.servers.process import refused_berth

THREE = 0.0225
"""What three containers of 1 GB cost at least, at the public price: five minutes of each."""


def key(name: str, tenant: str, **settings: object) -> dict[str, object]:
    return {"name": name, "value": f"sk-bf-{name}", "tenant": tenant, **settings}


def halting(behaviour: Behaviour, asked: threading.Event, go_on: threading.Event) -> Behaviour:
    """Return a behaviour that creates a container with the name "slow" only when it may go on.

    One with the name "yesterday" it says to have created yesterday.
    """
    numbers = count(1)

    async def behave(exchange: Exchange) -> None:
        if b'"slow"' in exchange.received.body:
            asked.set()
            await asyncio.to_thread(go_on.wait, 30)
        if b'"yesterday"' in exchange.received.body:
            made = {"id": f"cntr_y{next(numbers)}", "object": "container", "created_at": int(time.time()) - 86_000}
            await answer(200, made)(exchange)
        else:
            await behaviour(exchange)

    return behave


@dataclass(frozen=True)
class Place:
    """A Berth that hosts and passes on, its folder, and whether the provider was asked for "slow" and may go on."""

    berth: Berth
    folder: Path
    asked: threading.Event
    go_on: threading.Event

    def client(self, name: str) -> httpx2.Client:
        """Return a client with a key."""
        headers = {"authorization": f"Bearer sk-bf-{name}"}
        return httpx2.Client(base_url=self.berth.rest, headers=headers, timeout=30)

    def usage(self, *arguments: str) -> str:
        """Run `berth usage`; return what it prints."""
        options = ("--config", str(self.folder / "berth.yaml"), "--data-dir", str(self.folder / "data"))
        status, out, err = refused_berth("usage", *arguments, *options)
        assert status == 0, err
        return out


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("usage")
    budget = {"usd": THREE, "per": "month"}
    keys = [
        key("ours", "ours"),
        key("only-groq", "ours", providers=["groq"]),
        key("theirs", "theirs"),
        key("hosted-three", "budgets", budget=budget),
        key("passed-three", "budgets", budget=budget),
        key("free", "budgets", budget=budget),
        key("=1+1", "formula"),
        key("impatient", "impatient", budget=budget),
        key("daily", "budgets", budget=budget | {"per": "day"}),
    ]
    asked, go_on = threading.Event(), threading.Event()
    with in_background(misbehaving(halting(small_provider(), asked, go_on))) as provider:
        settings = {
            "providers": {"openai": passing_to(f"{provider.url}/v1")},
            "auth": {"virtual_keys": keys},
            "usage": {"prices": {"ollama": {"1g": 0.03}}},
        }
        with running(folder, settings) as berth:
            yield Place(berth, folder, asked, go_on)


def eventually(client: httpx2.Client, calls: int, **parameters: str) -> list[dict[str, object]]:
    """Return the usage once so many calls are counted."""
    deadline = time.monotonic() + 30
    while True:
        data: list[dict[str, object]] = client.get("/v1/usage", params=parameters).json()["data"]
        if sum(int(str(row["calls"])) for row in data) >= calls:
            return data
        assert time.monotonic() < deadline, f"the calls were not counted: {data}"
        time.sleep(0.05)


def test_a_tenant_sees_what_it_used(place: Place) -> None:
    """Containers, minutes, stored bytes, calls, traffic and cost, of its own, over REST and gRPC and by pages."""
    with place.client("ours") as client:
        box = client.post("/v1/containers", json={"provider": "ollama", "name": "box", "memory_limit": "1g"}).json()[
            "id"
        ]
        client.post("/v1/containers", json={"provider": "groq", "name": "other", "memory_limit": "64g"})
        client.post(f"/v1/containers/{box}/files?filename=a", content=b"x" * 10_000).raise_for_status()
        client.get(f"/v1/containers/{box}/files/nothing")
        rows = {row.get("provider"): row for row in eventually(client, 3, provider="ollama")}
        row = rows["ollama"]
        assert row | {"id": "", "stored_byte_hours": 0, "bytes_in": 0, "bytes_out": 0} == {
            "id": "",
            "object": "usage",
            "day": datetime.now(UTC).date().isoformat(),
            "key": "ours",
            "provider": "ollama",
            "containers": 1,
            "container_minutes": [{"memory_limit": "1g", "containers": 1, "minutes": 1, "billed_minutes": 5}],
            "stored_byte_hours": 0,
            "bytes_in": 0,
            "bytes_out": 0,
            "calls": row["calls"],
            "execs": 0,
            "exec_seconds": 0,
            "estimated_cost_usd": 0.0075,
        }
        assert 10_000 < float(str(row["bytes_in"])) < 11_000
        assert 100 < float(str(row["bytes_out"])) < 10_000
        first = client.get("/v1/usage", params={"limit": 1}).json()
        second = client.get("/v1/usage", params={"limit": 1, "after": first["last_id"]}).json()
        assert (first["has_more"], first["prices_as_of"]) == (True, "2026")
        assert first["data"][0]["id"] != second["data"][0]["id"]
        assert client.get("/v1/usage", params={"until": "2020-01-01"}).json()["data"] == []
        assert client.get("/openai/v1/usage").json()["data"] == []
        refusal = client.get("/v1/usage", params={"since": "yesterday"})
        assert (refusal.status_code, refusal.json()["error"]["param"]) == (400, "since")
    with place.client("only-groq") as client:
        seen = client.get("/v1/usage", params={"key": "ours"}).json()["data"]
        assert [row["provider"] for row in seen if "provider" in row] == ["groq"]
        assert client.get("/v1/usage", params={"provider": "ollama"}).status_code == 403
    with place.client("theirs") as client:
        assert client.get("/v1/usage", params={"key": "ours"}).json()["data"] == []
        assert client.get("/v1/usage", params={"after": first["last_id"]}).status_code == 400
    with grpc.insecure_channel(place.berth.grpc) as channel:
        request = ListUsageRequest(provider=Provider.PROVIDER_GROQ, key="ours")
        answer = UsageServiceStub(channel).ListUsage(request, metadata=(("x-bf-vk", "sk-bf-ours"),), timeout=30)
        assert [(item.key, item.container_minutes[0].memory_limit) for item in answer.data] == [("ours", "64g")]
        assert answer.extra_fields.request_type == "usage_list"


def test_an_operator_sees_all(place: Place) -> None:
    """Filtered and added up as wanted, as a table, as JSON and as CSV, while Berth runs."""
    with place.client("theirs") as client:
        for size in ("1g", "4g"):
            client.post("/v1/containers", json={"provider": "openai", "name": "box", "memory_limit": size})
    (line,) = [json.loads(line) for line in place.usage("--tenant", "theirs", "--by", "tenant", "--json").splitlines()]
    assert (line["tenant"], line["containers"], line["billed_minutes"]) == ("theirs", 2, 10)
    assert "day" not in line
    with place.client("=1+1") as client:
        eventually(client, 1)
    assert ",'=1+1," in place.usage("--csv", "--tenant", "formula")
    rows = list(csv.DictReader(io.StringIO(place.usage("--csv", "--provider", "openai", "--key", "theirs"))))
    assert [row["containers"] for row in rows] == ["2"]
    assert rows[0]["estimated_cost_usd"] in {"0.015", "0.0375"}
    assert (line["prices_as_of"], rows[0]["prices_as_of"]) == ("2026", "2026")
    assert place.usage("--tenant", "nobody").splitlines()[0].split()[:4] == ["TENANT", "KEY", "PROVIDER", "DAY"]


def fifty_creates(client: httpx2.Client, provider: str) -> list[httpx2.Response]:
    """Create fifty containers at a time; return the answers."""
    body = {"provider": provider, "name": "box"}
    with ThreadPoolExecutor(50) as threads:
        return list(threads.map(lambda _: client.post("/v1/containers", json=body), range(50)))


@pytest.mark.parametrize(("name", "provider"), [("hosted-three", "ollama"), ("passed-three", "openai")])
def test_a_budget_of_three_lets_three_through(place: Place, name: str, provider: str) -> None:
    """Of fifty creates at a time exactly three succeed, and the others are refused for good, hosted or passed on."""
    with place.client(name) as client:
        answers = fifty_creates(client, provider)
        assert Counter(answer.status_code for answer in answers) == {200: 3, 402: 47}
        refusal = next(answer for answer in answers if answer.status_code == 402)
        assert refusal.headers["x-should-retry"] == "false"
        assert "retry-after" not in refusal.headers
        assert refusal.json()["error"]["code"] == "budget_exceeded"
        left = client.get("/v1/containers", params={"provider": provider})
        assert left.headers["x-budget-remaining-usd"] == "0.000000"
        assert len(left.json()["data"]) == 3


def test_a_budget_holds_on_a_server(postgres: Postgres, tmp_path: Path) -> None:
    """In two processes on PostgreSQL, too, exactly three of fifty creates succeed, and the provider makes no more."""
    budget = {"usd": THREE}
    settings = {
        "store": {"url": postgres.fresh()},
        "usage": {"prices": {"ollama": {"1g": 0.03}}},
        "auth": {"virtual_keys": [key("ollama", "a", budget=budget), key("openai", "a", budget=budget)]},
    }
    with in_background(plain_provider()) as provider:
        provider.extra["memory_limit"] = "1g"
        passed = {"providers": {"openai": passing_to(provider.url)}}
        with running(tmp_path, settings | passed, options=("--workers", "2")) as berth:
            for name in ("ollama", "openai"):
                headers = {"authorization": f"Bearer sk-bf-{name}"}
                with httpx2.Client(base_url=berth.rest, headers=headers, timeout=30) as client:
                    answers = fifty_creates(client, name)
                assert Counter(answer.status_code for answer in answers) == {200: 3, 402: 47}
        assert len(provider.asked) == 3


def test_a_provider_does_not_open_a_budget(place: Place) -> None:
    """Neither with a clock that is a day late, nor with memory sizes that have no price."""
    with place.client("daily") as client:

        def create(**body: str) -> int:
            return client.post("/openai/v1/containers", json={"name": "yesterday", **body}).status_code

        assert create(memory_limit="128g") == 402
        assert create(memory_limit="64G") == 402
        assert Counter(create() for _ in range(5))[200] in {1, 2, 3}
        assert create() == 402


def test_a_budget_shows_what_is_left(place: Place) -> None:
    """Each answer to a key with a budget says so, and what costs nothing is not refused; gRPC callers see it too."""
    with place.client("free") as client:
        free = client.post("/v1/containers", json={"provider": "groq", "name": "box"})
        assert free.headers["x-budget-remaining-usd"] == "0.022500"
        paid = client.post("/v1/containers", json={"provider": "ollama", "name": "box"})
        assert paid.headers["x-budget-remaining-usd"] == "0.015000"
        missing = client.get("/v1/containers/nothing")
        assert (missing.status_code, missing.headers["x-budget-remaining-usd"]) == (404, "0.015000")
    request = CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="box", memory_limit="1g")
    with grpc.insecure_channel(place.berth.grpc) as channel:
        create = ContainerServiceStub(channel).CreateContainer
        for _ in range(2):
            _, call = create.with_call(request, metadata=(("x-bf-vk", "sk-bf-free"),), timeout=30)
        assert dict(call.trailing_metadata())["x-budget-remaining-usd"] == "0.000000"
        with pytest.raises(grpc.RpcError) as caught:
            create(request, metadata=(("x-bf-vk", "sk-bf-free"),), timeout=30)
        assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


def test_a_caller_who_goes_away_pays(place: Place) -> None:
    """A create that the caller cancels while the provider executes it ends all the same, and is charged and listed."""
    request = CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="slow")
    with grpc.insecure_channel(place.berth.grpc) as channel, place.client("impatient") as client:
        create = ContainerServiceStub(channel).CreateContainer
        call = create.future(request, metadata=(("x-bf-vk", "sk-bf-impatient"),), timeout=30)
        assert place.asked.wait(30)
        call.cancel()
        place.berth.lines(method="/berth.v1.ContainerService/CreateContainer", status="CANCELLED")
        place.go_on.set()
        wait_until(lambda: len(client.get("/openai/v1/containers").json()["data"]) == 1)
        left = client.get("/openai/v1/containers").headers["x-budget-remaining-usd"]
    assert left == "0.015000"


def test_a_stored_key_has_a_budget_too(place: Place) -> None:
    """`berth keys create --budget-usd` makes one, and a repeated create with an idempotency key is charged once."""
    options = ("--config", str(place.folder / "berth.yaml"), "--data-dir", str(place.folder / "data"))
    made = ("--name", "stored", "--tenant", "stored", "--budget-usd", "0.01", "--budget-per", "day")
    status, secret, _ = refused_berth("keys", "create", *made, *options)
    assert status == 0
    headers = {"x-bf-vk": secret.strip(), "idempotency-key": "once"}
    body = {"provider": "ollama", "name": "box"}
    answers = [
        httpx2.post(f"{place.berth.rest}/v1/containers", headers=headers, json=body, timeout=30) for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[1].headers["x-budget-remaining-usd"] == "0.002500"
    refusal = httpx2.post(
        f"{place.berth.rest}/v1/containers", headers=headers | {"idempotency-key": "2"}, json=body, timeout=30
    )
    assert refusal.status_code == 402
