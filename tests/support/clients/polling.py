"""Waiting for a condition, and what conditions are about: whether an address answers, and what its health is."""

import socket
import time
from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.servers.berth import STOP_SECONDS


def wait_until(condition: Callable[[], object], *, seconds: float = STOP_SECONDS) -> None:
    """Return once the condition is true; fail if that takes too long."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def answers(address: str) -> bool:
    """Return whether connections to an address are accepted."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=STOP_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True


def health_of(address: str, service: str = "") -> int:
    """Return the health of a service of a server, by default the overall health."""
    with grpc.insecure_channel(address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check  # type: ignore[attr-defined]  # set by its constructor
        return int(check(health_pb2.HealthCheckRequest(service=service), timeout=STOP_SECONDS).status)
