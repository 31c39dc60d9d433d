"""What a worker does: it serves as its supervisor says, until that says stop or has ended.

It is run as a module. Signals of people and of the system are for the supervisor, and ignored here.
"""

import asyncio
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack, suppress

import structlog
from structlog.typing import FilteringBoundLogger

from berth.app.listeners import GRPC, Listeners, grpc_socket
from berth.app.service import LocalService
from berth.app.workers.assignment import Assignment
from berth.launch.process.ending import end
from berth.launch.refusal import StartError
from berth.launch.workers.channel import Channel
from berth.launch.workers.process import Refused
from berth.telemetry.logging import configure_logging
from berth.telemetry.writer import ThreadedWriter

REFUSED = 2


def main() -> None:
    """Be the worker to which the socket in place of stdin leads."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    supervisor = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    end(asyncio.run(_work(supervisor)))


async def _work(supervisor: socket.socket) -> int:
    """Return the exit code."""
    channel = await Channel.open(supervisor)
    assignment: Assignment = await channel.receive()
    log_writer = configure_logging(json=assignment.json_log, level=assignment.config.log.level)
    log_writer.share()
    log = structlog.get_logger().bind(worker=assignment.index)
    async with AsyncExitStack() as stack:
        try:
            service = await _start(assignment, stack, log, log_writer)
        except StartError as error:
            with suppress(OSError):
                await channel.send(Refused(str(error)))
            return REFUSED
        await _serve(channel, service)
    return 0


async def _start(
    assignment: Assignment, stack: AsyncExitStack, log: FilteringBoundLogger, log_writer: ThreadedWriter
) -> LocalService:
    listeners = Listeners(
        assignment.config,
        stack,
        rest=assignment.role.rest,
        shared={GRPC: assignment.grpc},
        socket=assignment.private / grpc_socket(assignment.index),
        log=log,
    )
    service = LocalService(assignment.config, stack, listeners, assignment.role, log=log, log_writer=log_writer)
    await service.open()
    if assignment.reloaded is not None:
        await service.reload(assignment.reloaded)  # before the first call: a removed key must not be accepted again
    await service.start()
    await listeners.watch()
    stack.push_async_callback(service.resign)
    return service


async def _serve(channel: Channel, service: LocalService) -> None:
    """Say that the service is ready, and do what the supervisor asks for, until the end."""

    async def metrics() -> object:
        return service.metrics.snapshot()

    async def answer() -> None:
        """Show that this process is alive."""

    with suppress(OSError):
        await channel.send(None)
    await channel.serve(
        {
            "watch": service.watch,
            "reload": service.reload,
            "metrics": metrics,
            "answer": answer,
            "resign": service.resign,
            "close_ports": service.close_ports,
        }
    )


if __name__ == "__main__":
    main()
