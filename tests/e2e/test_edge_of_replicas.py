"""An Envoy in front of several replicas, as `berth envoy-config --service` configures it, and how it is drained."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from berth.cli import commands
from berth.launch.envoy.binary import envoy_program
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings
from support.clients.polling import answers, wait_until
from support.servers.hosted import Kept
from support.servers.service import Served, eventually, serving

DRAIN = Path(__file__).parents[2] / "deploy" / "docker" / "drain.py"
REPLICAS = 3
KEY = {"x-bf-vk": "sk-bf-ours"}


def at(document: Any, ports: list[int]) -> Any:
    """Put replicas in place of the name, of which the tests have no DNS."""
    for cluster in document["static_resources"]["clusters"]:
        sockets = [{"socket_address": {"address": "127.0.0.1", "port_value": port}} for port in ports]
        endpoints = [{"endpoint": {"address": address}} for address in sockets]
        cluster["type"] = "STATIC"
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    return document


@contextmanager
def running(folder: Path, document: Any) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    """Run an Envoy as its container does; yield the process and the file with the address of its admin interface."""
    path, admin = folder / "envoy.json", folder / "admin"
    path.write_text(json.dumps(document))
    options = ("--disable-hot-restart", "--drain-strategy", "immediate", "--concurrency", "1", "--log-level", "error")
    command = [envoy_program(), "--config-path", str(path), *options, "--admin-address-path", str(admin)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process, admin
        finally:
            process.kill()


@dataclass(frozen=True)
class Edge:
    """An Envoy in front of replicas: the addresses of REST and of the admin interface."""

    rest: str
    admin: str
    replicas: list[Served]


def admin_of(path: Path) -> str:
    """Return the address of the admin interface once Envoy has written it and its listeners are ready."""
    wait_until(lambda: path.exists() and path.read_text() != "")
    wait_until(lambda: httpx2.get(f"http://{path.read_text()}/ready", timeout=30).status_code == httpx2.codes.OK)
    return path.read_text()


@pytest.fixture
async def edge(kept: Kept, tmp_path: Path) -> AsyncIterator[Edge]:
    """Run replicas on one database, and an Envoy in front of them."""
    async with AsyncExitStack() as stack:
        replicas = [await stack.enter_async_context(serving(kept.backend, kept.store)) for _ in range(REPLICAS)]
        settings = EdgeSettings(rest_port=0, services=(("berth-replicas", 50051),))
        started = running(tmp_path, at(bootstrap(settings), [replica.port for replica in replicas]))
        _, path = stack.enter_context(started)
        admin = await asyncio.to_thread(admin_of, path)
        async with httpx2.AsyncClient(base_url=f"http://{admin}", timeout=30) as client:
            listeners = (await client.get("/listeners?format=json")).json()["listener_statuses"]
        port = listeners[0]["local_address"]["socket_address"]["port_value"]
        yield Edge(f"127.0.0.1:{port}", admin, replicas)


async def lists(client: httpx2.AsyncClient, times: int) -> list[int]:
    """Make calls at the same time; return their statuses."""
    called = [client.get("/v1/containers", params={"provider": "ollama"}, headers=KEY) for _ in range(times)]
    return [response.status_code for response in await asyncio.gather(*called)]


async def test_a_replica_that_stops_is_not_noticed(edge: Edge) -> None:
    """All replicas get calls; when one closes its port at once, the others answer every call."""
    async with httpx2.AsyncClient(base_url=f"http://{edge.rest}", timeout=30) as client:
        assert set(await lists(client, 60)) == {200}
        assert all(replica.lines() for replica in edge.replicas)
        for stopped in edge.replicas[:-1]:
            await stopped.server.drain(0)
            for _ in range(4):
                assert set(await lists(client, 15)) == {200}


async def test_drain_ends_kept_connections(edge: Edge) -> None:
    """A draining Envoy accepts no connection, closes kept ones with their next answer, and the script ends with 0."""
    async with httpx2.AsyncClient(base_url=f"http://{edge.rest}", timeout=30) as client:
        assert set(await lists(client, 1)) == {200}
        command = [sys.executable, str(DRAIN), edge.admin, "0"]
        script = await asyncio.create_subprocess_exec(*command)
        await eventually(lambda: not answers(edge.rest))
        last = await client.get("/v1/containers", params={"provider": "ollama"}, headers=KEY)
        assert (last.status_code, last.headers["connection"]) == (200, "close")
    assert await asyncio.wait_for(script.wait(), 30) == 0


def test_the_service_and_the_admin_port_are_options() -> None:
    """The printed bootstrap has the name and ports of the options; a service without a port is refused."""
    unset = {name: None for name in os.environ if name.startswith("BERTH_")}
    run = partial(CliRunner(env=unset).invoke, commands)
    printed = run(["envoy-config", "--service", "berth-replicas:1234", "--admin-port", "9901"])
    assert printed.exit_code == 0
    document = yaml.safe_load(printed.stdout)
    assert document["admin"]["address"]["socket_address"]["port_value"] == 9901
    for cluster in document["static_resources"]["clusters"]:
        (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        address = endpoint["endpoint"]["address"]["socket_address"]
        assert (cluster["type"], address) == ("STRICT_DNS", {"address": "berth-replicas", "port_value": 1234})
    for wrong in ("berth-replicas", "berth-replicas:0", "berth-replicas:65536", "http://berth:1", "[::1:1"):
        refused = run(["envoy-config", "--service", wrong])
        assert (refused.exit_code, "--service" in refused.stderr) == (2, True)
