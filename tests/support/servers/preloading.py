"""A program that has the modules of `berth up` loaded, and becomes a Berth once for each order on its socket.

To load them takes two thirds of the processor time of a start, and the tests start Berth hundreds of times. What
follows is what `python -m berth` does. Each order is the arguments, the environment and the working directory as JSON,
with descriptors: the three standard streams, and a socket, on which the id of the new process is sent, and its exit
code at its end.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import NamedTuple

_MAX_ORDER = 200_000
_STREAMS = 3
_EARLY = {"GRPC_VERBOSITY": "NONE", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
"""What Berth sets before it loads anything."""
_MODULES = ("berth.cli", "berth.commands.service.serving", "berth.app.service", "berth.app.passthrough")


class Order(NamedTuple):
    """What one Berth is started with."""

    arguments: list[str]
    environment: dict[str, str]
    folder: str


def main() -> None:
    """Load the modules, and become one Berth after the other."""
    os.environ.update(_EARLY)
    for name in _MODULES:
        import_module(name)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the tests end their servers
    with socket.socket(fileno=int(sys.argv[1])) as orders, selectors.DefaultSelector() as selector:
        order = _next_order(orders, selector)
    if order is not None:  # this is the new process
        _become(order)


def _next_order(orders: socket.socket, selector: selectors.BaseSelector) -> Order | None:
    """Fork for each order; return it in the new process, and None in this one at the end of all orders."""
    selector.register(orders, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not orders:
                selector.unregister(key.fileobj)
                _report_end(key.fd, *key.data)
                continue
            text, descriptors, *_ = socket.recv_fds(orders, _MAX_ORDER, _STREAMS + 1)
            if not text:
                return None
            *streams, channel = descriptors
            if (process := os.fork()) == 0:
                _take(streams, [channel, *_of_others(selector)])
                return Order(**json.loads(text))
            for descriptor in streams:
                os.close(descriptor)
            _tell(channel, process)
            selector.register(os.pidfd_open(process), selectors.EVENT_READ, (process, channel))


def _of_others(selector: selectors.BaseSelector) -> Iterator[int]:
    """Yield the descriptors that are kept for processes that run."""
    for key in selector.get_map().values():
        if key.data is not None:
            _, channel = key.data
            yield from (key.fd, channel)


def _take(streams: list[int], others: list[int]) -> None:
    """Make descriptors the standard streams of this process, and close the others that it has inherited."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    for descriptor in (*streams, *others):
        os.close(descriptor)


def _report_end(descriptor: int, process: int, channel: int) -> None:
    os.close(descriptor)
    _, status = os.waitpid(process, 0)
    _tell(channel, os.waitstatus_to_exitcode(status))
    os.close(channel)


def _tell(channel: int, number: int) -> None:
    with suppress(BrokenPipeError):  # a test may not wait for the end
        os.write(channel, str(number).encode())


def _become(order: Order) -> None:
    sys.stdin = os.fdopen(0, closefd=False)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.path.insert(0, order.folder)
    sys.argv = ["berth", *order.arguments]
    runpy.run_module("berth", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
