"""Ctrl-C while the client waits for gRPC, whose locks an exception at the wrong moment would leave held for ever."""

import signal
import subprocess
import sys

import pytest

from berth.commands.terminal.signals import exit_on_signals

SECONDS = 60.0
INTERRUPTS = 300
PROGRAM = f"""
import signal
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from random import uniform
import grpc
from berth.client.connection import connected
from berth.client.endpoint import Endpoint, Server
from berth.v1 import container_exec_service_pb2_grpc as services
from berth.v1.container_exec_service_pb2 import StreamContainerExecRequest
from berth.v1.exec_pb2 import ExecEvent

class Execs(services.ContainerExecServiceServicer):
    def StreamContainerExec(self, request, context):
        return repeat(ExecEvent(stdout="a"))

server = grpc.server(ThreadPoolExecutor(4))
services.add_ContainerExecServiceServicer_to_server(Execs(), server)
port = server.add_insecure_port("127.0.0.1:0")
server.start()
signal.signal(signal.SIGALRM, signal.default_int_handler)
for number in range({INTERRUPTS}):
    with connected(Server(Endpoint("127.0.0.1", port), key="")) as connection:
        events = connection.events(connection.execs.StreamContainerExec, StreamContainerExecRequest())
        next(events)
        try:
            signal.setitimer(signal.ITIMER_REAL, uniform(0.0001, 0.002))
            for event in events:
                pass
        except KeyboardInterrupt:
            pass
print(number + 1)
server.stop(None)
"""


def test_ctrl_c_ends_a_stream_at_any_moment() -> None:
    """It is what the command gets, neither an error of gRPC's nor a wait without an end."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (done.stdout, done.stderr) == (f"{INTERRUPTS}\n", "")


@pytest.mark.parametrize(
    ("number", "error"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit), (signal.SIGHUP, SystemExit)],
)
def test_clean_up_is_not_interrupted_by_the_same_signal(
    number: signal.Signals, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What follows at once is part of it; a signal that comes later interrupts the clean-up, too."""
    now = 1000.0
    monkeypatch.setattr("berth.commands.terminal.signals.monotonic", lambda: now)
    handlers = [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with exit_on_signals():
        with pytest.raises(error):
            signal.raise_signal(number)
        now += 0.5
        signal.raise_signal(number)
        signal.raise_signal(signal.SIGHUP)
        now += 0.6
        with pytest.raises(error):
            signal.raise_signal(number)
    assert [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
