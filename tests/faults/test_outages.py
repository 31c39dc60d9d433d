"""What callers get while PostgreSQL is away, hangs, refuses writes or loses connections, and afterwards."""

import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1.health_pb2 import HealthCheckResponse

from berth.adapters.sql.postgres.connections import ANSWER_SECONDS
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from support.clients.load import Load, Refused, loaded
from support.clients.polling import health_of, wait_until
from support.measuring.soak import only_long, soak, times
from support.servers.berth import KEY_A, Berth, running
from support.servers.postgres import Postgres, postgres_running
from support.servers.s3 import S3

HEADERS = {"authorization": f"Bearer {KEY_A}"}
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
UNAVAILABLE = Refused(503, "storage_unavailable", "2")
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING
AWAY_SECONDS = times(2, 10)
RECOVERY_SECONDS = times(15, 5)
"""On a machine that runs other tests as well, and on one that does not."""


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """Return the URL of a database of this module."""
    return postgres.fresh()


@pytest.fixture(scope="module")
def berth(url: str, s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    bucket = s3_server.fresh()
    settings = SETTINGS | bucket.settings | {"store": {"url": url}}
    with running(tmp_path_factory.mktemp("outages"), settings, inside=bucket.inside) as berth:
        yield berth


def until_all_succeed(loads: Sequence[Load]) -> None:
    """Return once each client has had a success after now."""
    before = [load.succeeded for load in loads]
    wait_until(lambda: all(load.succeeded > count for load, count in zip(loads, before, strict=True)))


def troubled(berth: Berth, trouble: Callable[[], None]) -> tuple[list[Load], float]:
    """Let clients work before, during and after some trouble; return them, and how long failures went on after it."""
    with loaded(berth.rest, HEADERS) as loads:
        until_all_succeed(loads)
        trouble()
        over = time.monotonic()
        wait_until(lambda: health_of(berth.grpc) == SERVING)
        until_all_succeed(loads)
        recovered = time.monotonic() - over
    failures = [load.last_failure - over for load in loads]
    return loads, max(recovered, *failures)


def check(loads: Sequence[Load], what: str) -> Counter[Refused]:
    """Check that nothing is lost and all failures are of one kind; return the failures."""
    refused = sum((load.refused for load in loads), Counter[Refused]())
    succeeded = sum(load.succeeded for load in loads)
    print(f"\n{what}: {succeeded} calls succeeded, refused {dict(refused)}")  # noqa: T201 - figures of make soak
    assert [load.lost for load in loads if load.lost] == []
    assert set(refused) <= {UNAVAILABLE}
    assert [wrong for load in loads for wrong in load.contradictions()] == []
    return refused


@soak
@pytest.mark.timeout(300)
def test_postgres_is_stopped(berth: Berth, postgres: Postgres) -> None:
    """Calls get 503 with a time to try again, over gRPC, too; nothing is lost; recovery takes 5 s at most."""

    def away() -> None:
        until = time.monotonic() + AWAY_SECONDS
        postgres.stop()
        try:
            wait_until(lambda: health_of(berth.grpc) == NOT_SERVING)
            assert refusal_over_grpc(berth.grpc) == (grpc.StatusCode.UNAVAILABLE, "2", 2)
            threading.Event().wait(until - time.monotonic())  # how long it takes, not what is waited for
        finally:
            postgres.start()

    loads, recovered = troubled(berth, away)
    assert check(loads, f"PostgreSQL away for {AWAY_SECONDS} s, recovered in {recovered:.1f} s")
    assert recovered <= RECOVERY_SECONDS


def refusal_over_grpc(address: str) -> tuple[grpc.StatusCode, str, int]:
    """Return how a create over gRPC is refused: status, retry-after, and the delay in RetryInfo."""
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as caught:
        ContainerServiceStub(channel).CreateContainer(
            CreateContainerRequest(name="x"), metadata=(("x-bf-vk", KEY_A),), timeout=30
        )
    metadata: dict[str, Any] = dict(caught.value.trailing_metadata() or ())  # type: ignore[arg-type] # it is a tuple
    retry = RetryInfo()
    details = Status.FromString(metadata["grpc-status-details-bin"]).details
    assert any(detail.Unpack(retry) for detail in details)
    return caught.value.code(), metadata["retry-after"], retry.retry_delay.seconds


@soak
def test_connections_are_cut(berth: Berth, postgres: Postgres, url: str) -> None:
    """Connections that PostgreSQL closes again and again fail some calls with 503, and lose nothing."""

    def cutting() -> None:
        for _ in range(times(10, 100)):
            postgres.cut(url)

    loads, recovered = troubled(berth, cutting)
    check(loads, f"connections cut {times(10, 100)} times, recovered in {recovered:.1f} s")
    assert recovered <= RECOVERY_SECONDS


def test_postgres_is_read_only(berth: Berth, postgres: Postgres, url: str) -> None:
    """As after a failover: reads go on, writes get 503 with a time, the health says so, and no connection stays so."""
    name = url.rpartition("/")[2]
    with httpx2.Client(base_url=f"{berth.rest}/v1", headers=HEADERS, timeout=60) as client:
        container = client.post("/containers", json={"name": "x"}).raise_for_status().json()["id"]
        postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        try:
            postgres.cut(url)
            refused = client.post("/containers", json={"name": "y"})
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert "read-only" in refused.json()["error"]["message"]
            wait_until(lambda: health_of(berth.grpc) == NOT_SERVING)
            assert client.get(f"/containers/{container}").status_code == 200
        finally:
            postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        # Connections that were opened meanwhile stay read-only: no write may use one of them.
        wait_until(lambda: health_of(berth.grpc) == SERVING)
        client.delete(f"/containers/{container}").raise_for_status()


def test_postgres_has_too_many_connections(postgres: Postgres, tmp_path: Path) -> None:
    """Calls that need another connection get 503 with a time, and those that find one succeed."""
    role, url = "limited", postgres.fresh()
    postgres.execute(f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    postgres.execute(f"ALTER DATABASE {url.rpartition('/')[2]} OWNER TO {role}")
    settings = SETTINGS | {"store": {"url": url.replace("//berth@", f"//{role}@")}}
    with running(tmp_path, settings) as berth, ThreadPoolExecutor(16) as threads:

        def create(number: int) -> httpx2.Response:
            return httpx2.post(f"{berth.rest}/v1/containers", json={"name": str(number)}, headers=HEADERS, timeout=60)

        answers = list(threads.map(create, range(64)))
        refused = [answer for answer in answers if answer.status_code != 200]
        assert {(answer.status_code, answer.headers["retry-after"]) for answer in refused} == {(503, "2")}
        assert len(refused) < len(answers)
        assert "too many connections" in berth.lines(event="storage.failed")[0]["reason"]
        assert create(65).status_code == 200


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a disk for another user")
def test_the_disk_of_postgres_is_full(tmp_path: Path) -> None:
    """Writes get 503 with a time, reads go on, the health stays; with space again, writes succeed."""
    with postgres_running(disk=32 * 1024 * 1024) as server:
        server.execute(f"CREATE TABLESPACE small LOCATION '{server.disk}'")
        server.execute("CREATE DATABASE small TABLESPACE small")
        settings = SETTINGS | {"store": {"url": server.url("small")}}
        with (
            running(tmp_path, settings) as berth,
            httpx2.Client(base_url=berth.rest, headers=HEADERS, timeout=30) as client,
        ):
            body = {"name": "x", "metadata": {str(key): secrets.token_hex(256) for key in range(16)}}
            made = client.post("/v1/containers", json=body).raise_for_status().json()["id"]
            server.execute("CREATE TABLE filler (text text)", "small")
            with pytest.raises(AssertionError, match="No space left on device"):
                server.execute("INSERT INTO filler SELECT repeat('x', 1000) FROM generate_series(1, 100000)", "small")
            refused = next(answer for answer in created(client, body) if answer.status_code != 200)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
            assert "disk is full" in refused.json()["error"]["message"]
            assert client.get(f"/v1/containers/{made}").status_code == 200
            assert health_of(berth.grpc) == SERVING
            server.execute("DROP TABLE filler", "small")
            assert client.post("/v1/containers", json=body).status_code == 200


def created(client: httpx2.Client, body: Mapping[str, object]) -> Iterator[httpx2.Response]:
    """Create containers, more than fit into the space that the tables have left."""
    for _ in range(1000):
        yield client.post("/v1/containers", json=body)


@soak
@pytest.mark.timeout(300)
@only_long("calls wait for 15 seconds and more")
def test_postgres_hangs(berth: Berth, postgres: Postgres) -> None:
    """Calls wait for 15 s for an answer, and for as long for a connection, and get 503; the health says so before."""

    def hanging() -> None:
        with postgres.paused():
            wait_until(lambda: health_of(berth.grpc) == NOT_SERVING)
            begun = time.monotonic()
            assert refusal_over_grpc(berth.grpc) == (grpc.StatusCode.UNAVAILABLE, "2", 2)
            assert time.monotonic() - begun <= 2 * ANSWER_SECONDS + 1

    loads, recovered = troubled(berth, hanging)
    assert check(loads, f"PostgreSQL hung, recovered in {recovered:.1f} s")
    assert recovered <= RECOVERY_SECONDS
