"""What `berth up` does when its Envoy dies or hangs."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from support.clients.polling import health_of, wait_until
from support.servers.process import BerthProcess, running_berth

FAILED = 1


@pytest.fixture
def berth(tmp_path: Path) -> Iterator[BerthProcess]:
    with running_berth("up", tmp_path / "data") as process:
        yield process


def events(berth: BerthProcess, name: str) -> list[dict[str, str]]:
    """Return the events with this name that are in the log so far."""
    lines = [json.loads(line) for line in berth.errors.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == name]


def rest_works(berth: BerthProcess) -> bool:
    try:
        return berth.call("GET", "/v1/containers")[0] == 200
    except OSError:
        return False


@pytest.mark.parametrize(
    ("number", "reason"),
    [(signal.SIGKILL, "Envoy ended by itself with status -9"), (signal.SIGSTOP, "Envoy did not answer")],
)
def test_envoy_is_restarted(berth: BerthProcess, number: signal.Signals, reason: str) -> None:
    """An Envoy that dies or hangs is replaced on the same port, the log says why, and gRPC answers meanwhile."""
    (envoy,) = berth.children()
    os.kill(envoy, number)
    assert health_of(berth.ready["grpc"]) in {
        health_pb2.HealthCheckResponse.SERVING,
        health_pb2.HealthCheckResponse.NOT_SERVING,
    }
    wait_until(lambda: bool(events(berth, "envoy.restarted")))
    assert [event["reason"] for event in events(berth, "envoy.restarted")] == [reason]
    wait_until(lambda: rest_works(berth))
    assert envoy not in berth.children()
    assert berth.end(signal.SIGTERM) == 0


def test_berth_ends_if_envoy_fails_again_and_again(berth: BerthProcess, tmp_path: Path) -> None:
    """After five failed restarts in a row Berth stops and says why."""
    (configuration,) = (tmp_path / "data").glob("run-*/bootstrap.json")
    configuration.write_text("no configuration")
    (envoy,) = berth.children()
    os.kill(envoy, signal.SIGKILL)
    assert berth.end() == FAILED
    assert len(events(berth, "envoy.restart_failed")) == 5
    assert events(berth, "envoy.restarted") == []
    reason = "Envoy ended by itself with status -9; 5 restarts in a row have failed"
    assert berth.errors.splitlines()[-1] == f"berth: {reason}"
