"""Runs Berth: builds all objects from the configuration, starts them, and closes them in reverse order."""

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog
from structlog.typing import FilteringBoundLogger

from berth.app.execs import BuildSandbox, build_sandbox
from berth.app.listeners import Listeners, ServedMetrics, grpc_socket
from berth.app.observation.gateway import with_gateway
from berth.app.observation.sending import build_sending
from berth.app.reload import Reloader
from berth.app.workers.assignment import Role
from berth.app.workers.pool import WorkerPool
from berth.app.workers.sharing import warn_about_workers
from berth.config import Config
from berth.core.background import cancelled, first_of
from berth.launch.address import Address
from berth.launch.backup_folder import remove_mark
from berth.launch.envoy.binary import check_envoy, envoy_program
from berth.launch.hand_over import HandOver, Predecessor, claimed_or_shared
from berth.launch.kept_secrets import first_key
from berth.launch.private_folder import private_folder
from berth.launch.process.terminal import Terminal
from berth.launch.steering import SETTLE_SECONDS, steered_here
from berth.telemetry.writer import ThreadedWriter


@dataclass(frozen=True, slots=True)
class Ready:
    """The addresses of a running Berth, with TLS if `is_encrypted`.

    `virtual_key` is the first key of the data folder; None if that key is not in use.
    """

    grpc: Address
    rest: Address | None
    metrics: Address | None
    virtual_key: str | None
    is_encrypted: bool

    @property
    def rest_url(self) -> str | None:
        """The URL of the REST API; None if only gRPC is served."""
        return f"{'https' if self.is_encrypted else 'http'}://{self.rest}" if self.rest else None


class Service(Protocol):
    """What `run` needs of the service, in this process or in several ones. `open` and `start` raise StartError."""

    @property
    def metrics(self) -> ServedMetrics:
        """Its metrics."""

    async def open(self) -> None:
        """Open what it works on."""

    async def start(self) -> Address:
        """Serve; return the address of gRPC."""

    async def watch(self, rest: Address | None) -> None:
        """Report from now on whether the store and the Envoy at `rest` answer. All else has been started."""

    async def reload(self, config: Config) -> None:
        """Use the callers and the keys at providers of another configuration."""

    async def resign(self) -> None:
        """Report NOT_SERVING but go on serving."""

    async def close_ports(self) -> None:
        """Accept no more connections, except from the own Envoy."""

    async def ended(self) -> None:
        """Wait for ever; an error says why the service cannot go on."""


class LogTo(NamedTuple):
    """Where the log goes, and whether its lines are JSON."""

    writer: ThreadedWriter
    is_json: bool


async def run(
    config: Config,
    *,
    workers: int,
    rest: bool,
    log_to: LogTo,
    replace: bool,
    reload: Callable[[], Config],
    announce: Callable[[Ready], None],
    sandbox: BuildSandbox = build_sandbox,
) -> None:
    """Serve until cancelled or replaced, then finish running requests; call `announce` once everything is ready.

    With `replace`, take over the data folder and the ports of the Berth that uses the folder, if there is one.
    With several `workers`, that many processes serve, and this one only starts, restarts and stops them. `sandbox`
    builds what commands run in, unless workers do.
    On SIGHUP the configured callers are replaced by those of the configuration that `reload` returns. Raises StartError
    if Berth cannot start, and ProcessEndedError if Envoy or a worker fails again and again.
    """
    log, (log_writer, json_log) = structlog.get_logger(), log_to
    _warn(config, workers, log)
    if rest:
        await check_envoy(envoy_program(), log)
    async with AsyncExitStack() as stack:
        lock, predecessor = stack.enter_context(claimed_or_shared(config.data_dir, replace=replace))
        remove_mark(config.data_dir)
        shared = predecessor.addresses if predecessor else {}
        private = stack.enter_context(private_folder(config.data_dir)) if rest or workers > 1 else None
        socket = private / grpc_socket(0) if private else None
        listeners = Listeners(
            config, stack, rest=rest, shared=shared, log=log, private=private, socket=socket, workers=workers
        )
        key = None if config.auth.mode == "none" or config.has_callers() else first_key(config.data_dir)
        role = Role(rest=rest, is_shared=predecessor is not None, first_key=key, workers=workers)
        service = _service(
            config, stack, listeners, role, private=private, json_log=json_log, log_writer=log_writer, sandbox=sandbox
        )
        metrics = with_gateway(service.metrics, private if rest else None)
        start_sending = build_sending(config, stack, metrics, log)
        await service.open()
        _on_sighup(Reloader(config, service.reload, reload, rest=rest, log=log), stack)
        metrics_address = listeners.serve_metrics(metrics)
        grpc = await service.start()
        start_sending()
        rest_address = listeners.reserve_rest() if rest else None
        envoy = (
            await stack.enter_async_context(listeners.envoy(rest_address, json_log=json_log)) if rest_address else None
        )
        await listeners.watch()
        await service.watch(rest_address)
        stack.push_async_callback(service.resign)
        if predecessor:
            sockets = {grpc: workers, **({rest_address: 1} if rest_address else {})}
            await _take_over(predecessor, sockets, ipv6_only=config.listen.ipv6_only)
            lock.sign()
            metrics_address = metrics_address or listeners.take_over_metrics(metrics)
        bound = {"listen.grpc": grpc, "listen.rest": rest_address, "listen.metrics": metrics_address}
        hand_over = HandOver(config.data_dir, lock, {name: at for name, at in bound.items() if at}, log)
        rest_called, metrics_called = (at and at.to_call() for at in (rest_address, metrics_address))
        ready = Ready(grpc.to_call(), rest_called, metrics_called, key, is_encrypted=config.tls is not None)
        if envoy is None:
            announce(ready)
            await service.ended()
        else:
            with hand_over.listening() as successors:
                announce(ready)
                await first_of(envoy.watch(), service.ended(), hand_over.requested(successors))
            await service.close_ports()
            await envoy.close_port()
            await listeners.close_metrics()
            hand_over.confirm()


def _service(
    config: Config,
    stack: AsyncExitStack,
    listeners: Listeners,
    role: Role,
    *,
    private: Path | None,
    json_log: bool,
    log_writer: ThreadedWriter,
    sandbox: BuildSandbox,
) -> Service:
    """Return the service in this process, or in several ones."""
    log = structlog.get_logger()
    if private is not None and role.workers > 1:
        return WorkerPool(
            config, stack, listeners, role, private=private, json_log=json_log, log=log, log_writer=log_writer
        )
    from berth.app.service import LocalService  # noqa: PLC0415 - the supervisor of workers does without it

    return LocalService(config, stack, listeners, role, log=log, log_writer=log_writer, sandbox=sandbox)


async def _take_over(predecessor: Predecessor, sockets: Mapping[Address, int], *, ipv6_only: bool) -> None:
    """Steer new connections to our `sockets` at each address, and make the predecessor close its ports."""
    shared = [address for address in sockets if address in predecessor.addresses.values()]
    async with steered_here(shared, ipv6_only=ipv6_only, workers=sockets):
        await asyncio.sleep(SETTLE_SECONDS)
        await predecessor.resign()


def _warn(config: Config, workers: int, log: FilteringBoundLogger) -> None:
    """Log a warning if authentication is off, and for each account in which every tenant can reach everything.

    Also for what works differently with several workers.
    """
    warn_about_workers(config, workers, log)
    if config.auth.mode == "none":
        log.warning("auth.off", reason="auth.mode is none: everybody who reaches Berth may do everything")
    for name, settings in config.passed_through().items():
        if settings.unknown_containers == "shared":
            reason = "every tenant can reach containers and files in the account that Berth did not create"
            log.warning("provider.unknown_containers_shared", provider=name, reason=reason)


def _on_sighup(reloader: Reloader, stack: AsyncExitStack) -> None:
    """Reload at SIGHUP; stop as at SIGTERM instead if it says that the terminal of the process was closed."""
    loop, terminal = asyncio.get_running_loop(), Terminal()
    stack.push_async_callback(cancelled, asyncio.create_task(reloader.serve()))
    stops: list[signal.Signals] = []

    def handle() -> None:
        if not terminal.is_closed():
            reloader.request()
        elif not stops:  # the kernel and the shell both send one
            stops.append(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)

    loop.add_signal_handler(signal.SIGHUP, handle)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # it was blocked while the process started
    stack.callback(_ignore_sighup)


def _ignore_sighup() -> None:
    """Let what asks for a reload not end the process while it stops."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # the loop leaves it to the system, which would end Berth
    asyncio.get_running_loop().remove_signal_handler(signal.SIGHUP)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
