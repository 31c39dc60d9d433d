"""Traces of a whole Berth: each request is one trace, from Envoy to the stores, the sandbox and the provider."""

import re
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx2
import pytest

from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.providers.plain import Plain, plain_provider
from support.servers.background import in_background
from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.chain import passing_to
from support.servers.collector import Collected, Collector, collecting
from support.servers.exec_program import PROGRAM

SERVER, CLIENT, INTERNAL = 2, 3, 1
UPLOAD, PASSED, COMMAND, REFUSED, OVER_GRPC, UNSAMPLED, OF_A_CALLER = (f"{number:032x}" for number in range(1, 8))
"""The traces that callers have begun."""
CALLER = "cd" * 8
KEY = {"authorization": f"Bearer {KEY_A}"}


class World(NamedTuple):
    """A Berth with the fake sandbox, a provider, and the collector of both of its processes."""

    berth: Berth
    collector: Collector
    provider: Plain


def telemetry(collector: Collector, protocol: str, **settings: object) -> dict[str, object]:
    """Return the settings of traces, of which all are recorded."""
    url = collector.grpc if protocol == "grpc" else collector.http
    headers = {"Authorization": "Bearer 100%-secret"}
    return {"telemetry": {"endpoint": url, "protocol": protocol, "sampling_ratio": 1, "headers": headers, **settings}}


@contextmanager
def world_of(folder: Path, protocol: str, transport: str) -> Iterator[World]:
    """Run a Berth that sends traces with `protocol`, and that Envoy calls over `transport`."""
    with collecting() as collector, in_background(plain_provider()) as provider:
        providers = {**SETTINGS["providers"], "openai": passing_to(provider.url)}  # type: ignore[dict-item]
        settings = {
            **SETTINGS,
            **telemetry(collector, protocol),
            "providers": providers,
            "rest": {"transport": transport},
            "exec": {"accept_shared_kernel": True},
        }
        with running(folder, settings, program=PROGRAM) as berth:
            yield World(berth, collector, provider)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Make all calls that the tests look at, because spans are sent once a second."""
    with world_of(tmp_path_factory.mktemp("traces"), "grpc", "http1") as world:
        with httpx2.Client(base_url=world.berth.rest, headers=KEY, timeout=30) as client:
            upload(client)
            passed = {**traced(PASSED), "tracestate": "vendor=2"}
            created = client.post("/v1/containers", json={"provider": "openai", "name": "hidden"}, headers=passed)
            assert created.status_code == 200
            made = client.post("/v1/containers", json={"provider": "ollama", "name": "box"}).json()
            command = {"command": "echo hidden > a.txt; exit 3"}
            done = client.post(f"/v1/containers/{made['id']}/execs", json=command, headers=traced(COMMAND))
            assert done.json()["outcome"]["exit_code"] == 3
            assert client.get("/v1/containers/none", headers=traced(REFUSED)).status_code == 404
        with grpc.insecure_channel(world.berth.grpc) as channel:
            containers = ContainerServiceStub(channel)
            request = CreateContainerRequest(provider=Provider.PROVIDER_OLLAMA, name="hidden")
            for headers in (traced(UNSAMPLED, flags="00"), traced(OVER_GRPC)):
                containers.CreateContainer(request, metadata=(*KEY.items(), *headers.items()))
        yield world


def traced(trace_id: str, flags: str = "01") -> dict[str, str]:
    """Return the header of a caller that has begun a trace."""
    return {"traceparent": f"00-{trace_id}-{CALLER}-{flags}"}


def upload(client: httpx2.Client) -> str:
    """Upload a file as a part of a trace; return the path."""
    made = client.post("/v1/containers", json={"name": "hidden-name"}).json()
    form, path = {"file": ("hidden-file.txt", b"hidden content")}, f"/v1/containers/{made['id']}/files"
    headers = {**traced(UPLOAD), "tracestate": "vendor=1", "x-request-id": "chosen by the caller"}
    assert client.post(f"{path}?provider=ollama", files=form, headers=headers).status_code == 200
    return path


def parents(spans: list[Collected]) -> dict[str, str]:
    """Return the name of the parent of each span by its own name, which occurs once or with the same parent."""
    names = {span.span_id: span.name for span in spans}
    return {span.name: names.get(span.parent_id, span.parent_id) for span in spans}


def check_upload(world: World) -> None:
    """Check the trace of an upload: all spans, their parents and attributes, and how they came.

    No span has a name, a query, content or a key, and the collector has got its secret header from both processes.
    """
    berth, collector, _ = world
    spans = collector.trace(UPLOAD, 7)
    call = "berth.v1.ContainerFileService/CreateContainerFile"
    assert Counter((span.service, span.name, span.kind, span.status) for span in spans) == {
        ("berth-envoy", "POST", SERVER, 0): 1,
        ("berth", call, SERVER, 0): 1,
        ("berth", "SELECT containers", CLIENT, 0): 2,
        ("berth", "SELECT blobs", CLIENT, 0): 1,
        ("berth", "content put", INTERNAL, 0): 1,
        ("berth", "TRANSACTION", CLIENT, 0): 1,
    }
    parts = dict.fromkeys(("SELECT containers", "SELECT blobs", "content put", "TRANSACTION"), call)
    assert parents(spans) == {"POST": CALLER, call: "POST", **parts}
    by_name = {span.name: span.attributes for span in spans}
    assert re.fullmatch(r"/v1/containers/cntr_\w+/files", str(by_name["POST"]["url.path"]))
    assert by_name["POST"]["http.url"] == by_name["POST"]["url.path"]
    assert by_name["POST"]["http.response.status_code"] == "200"
    assert by_name[call] == {
        "rpc.system.name": "grpc",
        "rpc.method": call,
        "rpc.response.status_code": "OK",
        "berth.provider": "ollama",
    }
    assert by_name["SELECT blobs"] == {
        "db.system.name": "sqlite",
        "db.operation.name": "SELECT",
        "db.query.summary": "SELECT blobs",
    }
    assert "hidden" not in str(collector.spans)
    assert KEY_A not in str(collector.spans)
    assert {span.state for span in spans if span.service == "berth"} == {"vendor=1"}
    agents = {headers["user-agent"].partition("/")[0] for headers in collector.headers}
    assert agents == {"OTel-OTLP-Exporter-Envoy", "OTel-OTLP-Exporter-Python"}
    assert {headers["authorization"] for headers in collector.headers} == {"Bearer 100%-secret"}
    assert berth.lines(1, event="call.finished", trace_id=UPLOAD)


def test_an_upload_over_rest_is_one_trace(world: World) -> None:
    """Envoy's span is part of the caller's, the service's of Envoy's, and the stores' of the service's."""
    check_upload(world)


def test_it_is_the_same_over_http(tmp_path: Path) -> None:
    """The same spans come by OTLP over HTTP, and from a service that Envoy calls over HTTP/2."""
    with world_of(tmp_path, "http", "grpc") as world:
        with httpx2.Client(base_url=world.berth.rest, headers=KEY, timeout=30) as client:
            upload(client)
        check_upload(world)


def test_a_call_over_grpc_is_one_trace(world: World) -> None:
    """On the gRPC port the service's span is part of the caller's; what the caller does not record, is not recorded."""
    spans = world.collector.trace(OVER_GRPC, 2)
    call = "berth.v1.ContainerService/CreateContainer"
    assert parents(spans) == {call: CALLER, "TRANSACTION": call}
    assert world.berth.lines(1, event="call.finished", trace_id=UNSAMPLED)
    assert not [span for span in world.collector.spans if span.trace_id == UNSAMPLED]


def test_a_provider_continues_the_trace(world: World) -> None:
    """Each request to a provider is a span, and the provider gets the context of that span."""
    spans = world.collector.trace(PASSED, 4)
    (sent,) = [span for span in spans if "url.full" in span.attributes]
    (call,) = [span for span in spans if span.name == "berth.v1.ContainerService/CreateContainer"]
    assert (sent.name, sent.kind, sent.parent_id) == ("POST", CLIENT, call.span_id)
    assert sent.attributes["url.full"] == f"{world.provider.url}/containers"
    assert sent.attributes["http.response.status_code"] == 200
    got = world.provider.headers[-1]
    assert (got["traceparent"], got["tracestate"]) == (f"00-{PASSED}-{sent.span_id}-01", "vendor=2")


def test_a_command_is_part_of_the_trace(world: World) -> None:
    """The sandbox is a span of the call that started the command, with its outcome, and never with the command."""
    call, run = "berth.v1.ContainerExecService/CreateContainerExec", "sandbox run"
    world.collector.wait(lambda: {call, run} <= parents(world.collector.trace(COMMAND, 1)).keys(), "of a command")
    spans = world.collector.trace(COMMAND, 1)
    (ran,) = [span for span in spans if span.name == run]
    assert ran.attributes == {"berth.exec.outcome": "exit", "process.exit.code": 3}
    assert (parents(spans)[run], parents(spans)["content put"]) == (call, run)
    assert "hidden" not in str(world.collector.spans)


def test_a_refused_call_is_no_failure(world: World) -> None:
    """A call that is refused has its status, and is not marked as an error of the server."""
    (call,) = [span for span in world.collector.trace(REFUSED, 3) if span.name.startswith("berth.v1")]
    assert (call.attributes["rpc.response.status_code"], call.status) == ("NOT_FOUND", 0)


def metrics(berth: Berth) -> Mapping[str, float]:
    """Return the metrics by series."""
    assert berth.metrics is not None
    lines = [
        line.rsplit(" ", 1)
        for line in httpx2.get(berth.metrics, timeout=30).text.splitlines()
        if not line.startswith("#")
    ]
    return {series: float(value) for series, value in lines}


def test_a_collector_that_fails_costs_spans_alone(tmp_path: Path) -> None:
    """Calls are answered while the collector refuses spans, which are counted; the log has one line, and one later."""
    with collecting() as collector:
        collector.refuses = True
        settings = {**SETTINGS, **telemetry(collector, "grpc"), "listen": {"metrics": "127.0.0.1:0"}}
        with (
            running(tmp_path, settings) as berth,
            httpx2.Client(base_url=berth.rest, headers=KEY, timeout=30) as client,
        ):
            for dropped in (2, 4):
                assert client.get("/v1/containers").status_code == 200
                collector.wait(lambda: metrics(berth)["berth_spans_dropped_total"] >= dropped, "drops")  # noqa: B023
            assert berth.lines(1, event="traces.unavailable")
            collector.refuses = False
            assert client.get("/v1/containers").status_code == 200
            assert berth.lines(1, event="traces.available")
            assert len(berth.lines(1, event="traces.unavailable")) == 1
            assert not [line for line in berth.lines() if "OTLP" in str(line)]
            collector.refuses = True
            assert client.get("/v1/containers").status_code == 200
            began = time.monotonic()
            berth.process.send_signal(signal.SIGTERM)
            assert berth.process.wait(20) == 0
            assert time.monotonic() - began < 10


def test_without_a_collector_lines_name_a_trace(berth: Berth, client: httpx2.Client) -> None:
    """Envoy and the service name the trace of the caller, or both the same of their own; so does what Envoy refuses."""
    ids = [client.get("/v1/containers").headers["x-request-id"], client.get("/v1/nothing").headers["x-request-id"]]
    found, refused = (berth.lines(event="request.proxied", request_id=one)[0]["trace_id"] for one in ids)
    assert (found, refused) == tuple(one.replace("-", "") for one in ids)
    assert berth.lines(event="call.finished", trace_id=found)
    client.get("/v1/containers", headers=traced(OF_A_CALLER))
    for event in ("request.proxied", "call.finished"):
        assert berth.lines(event=event, trace_id=OF_A_CALLER)
    with grpc.insecure_channel(berth.grpc) as channel:
        _, call = ContainerServiceStub(channel).ListContainers.with_call(
            ListContainersRequest(), metadata=(*KEY.items(),)
        )
    request_id = dict(call.initial_metadata() + call.trailing_metadata())["x-request-id"]
    line = berth.lines(event="call.finished", request_id=request_id)[0]
    assert line["trace_id"] == str(request_id).removeprefix("req_")
