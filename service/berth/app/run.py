"""Runs Berth: builds all objects from the configuration, starts them, and closes them in reverse order."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from google.protobuf.descriptor_pool import DescriptorPool
from structlog.typing import FilteringBoundLogger

from berth.adapters.memory.limits import MemoryLimits
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.app.backends import Backends, build_backends, new_id, now, open_database
from berth.app.credentials import build_credentials, reload_credentials
from berth.app.listeners import GRACE_SECONDS, Listeners, cancelled
from berth.app.readiness import Check, probe_listener, watch_readiness
from berth.app.upkeep import start_upkeep
from berth.config import Config
from berth.core.auth.credentials import Credentials
from berth.core.auth.login_throttle import LoginThrottle
from berth.core.auth.rate_limits import Gate, Limiter, TenantSlots
from berth.core.ports.metrics import Metrics
from berth.launch.address import Address
from berth.launch.envoy_binary import check_envoy, envoy_program
from berth.launch.envoy_supervisor import RunningEnvoy
from berth.launch.hand_over import HandOver, Predecessor, claimed_or_shared
from berth.launch.kept_secrets import first_key
from berth.launch.steering import SETTLE_SECONDS, steered_here
from berth.rest.bodies import json_bodies
from berth.rest.view import load_contract
from berth.rpc.handlers.container_files import ContainerFileHandlers
from berth.rpc.handlers.containers import ContainerHandlers
from berth.rpc.handlers.files import FileHandlers
from berth.rpc.interceptors.admission import admission
from berth.rpc.interceptors.audit import audit_interceptor
from berth.rpc.interceptors.auth import auth_interceptor
from berth.rpc.interceptors.errors import errors_interceptor
from berth.rpc.interceptors.limits import limits_interceptor
from berth.rpc.interceptors.request import request_interceptor
from berth.rpc.json_methods import JsonBodies
from berth.rpc.patience import Patience
from berth.rpc.peer import Trust
from berth.rpc.server import Server
from berth.v1 import container_file_service_pb2, container_service_pb2, file_service_pb2

MAX_SKILL_LENGTH = 70_254_592
"""How long the text of an inline skill may be (OpenAI's reference)."""


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


async def run(
    config: Config,
    *,
    rest: bool,
    json_log: bool,
    replace: bool,
    reload: Callable[[], Config],
    announce: Callable[[Ready], None],
) -> None:
    """Serve until cancelled or replaced, then finish running requests; call `announce` once everything is ready.

    With `replace`, take over the data folder and the ports of the Berth that uses the folder, if there is one.
    On SIGHUP the configured callers are replaced by those of the configuration that `reload` returns. Raises StartError
    if Berth cannot start, and EnvoyEndedError if Envoy fails again and again.
    """
    log = structlog.get_logger()
    warn(config, log)
    if rest:
        await check_envoy(envoy_program(), log)
    async with AsyncExitStack() as stack:
        lock, predecessor = stack.enter_context(claimed_or_shared(config.data_dir, replace=replace))
        shared = predecessor.addresses if predecessor else {}
        listeners = Listeners(config, stack, rest=rest, shared=shared, log=log)
        key = None if config.auth.mode == "none" or config.has_callers() else first_key(config.data_dir)
        metrics = PrometheusMetrics()
        database = open_database(config, stack, is_shared=predecessor is not None)
        backends = build_backends(config, stack, database=database, log=log, metrics=metrics)
        credentials = build_credentials(config, database, first_key=key, now=now)
        _on_sighup(lambda: reload_credentials(credentials, reload, first_key=key, log=log), stack)
        login_throttle = LoginThrottle(
            free=config.auth.free_failures_per_minute, timer=time.monotonic, sleep=asyncio.sleep
        )
        limiter = _build_limiter(config, stack, log)
        server = _build_server(
            config,
            backends,
            credentials,
            login_throttle=login_throttle,
            limiter=limiter,
            log=log,
            metrics=metrics,
            envoy_on_socket=rest,
        )
        metrics_address = listeners.serve_metrics(metrics)
        grpc = listeners.bind(server)
        await server.start()
        start_upkeep(backends.sweeper, database, stack, log)
        stack.push_async_callback(server.drain, GRACE_SECONDS)
        rest_address = listeners.reserve_rest() if rest else None
        envoy = (
            await stack.enter_async_context(listeners.envoy(rest_address, json_log=json_log)) if rest_address else None
        )
        await listeners.watch()
        checks: dict[str, Check] = {"the store": database.check}
        if rest_address:
            checks["Envoy"] = partial(probe_listener, rest_address.to_call(), is_encrypted=config.tls is not None)
        stack.push_async_callback(cancelled, asyncio.create_task(watch_readiness(server, checks, log)))
        stack.push_async_callback(server.resign)
        if predecessor:
            await _take_over(predecessor, [at for at in (grpc, rest_address) if at])
            lock.sign()
            metrics_address = metrics_address or listeners.take_over_metrics(metrics)
        bound = {"listen.grpc": grpc, "listen.rest": rest_address, "listen.metrics": metrics_address}
        hand_over = HandOver(config.data_dir, lock, {name: at for name, at in bound.items() if at}, log)
        rest_called, metrics_called = (at and at.to_call() for at in (rest_address, metrics_address))
        ready = Ready(grpc.to_call(), rest_called, metrics_called, key, is_encrypted=config.tls is not None)
        if envoy is None:
            announce(ready)
            await asyncio.Event().wait()
        else:
            with hand_over.listening() as successors:
                announce(ready)
                await _until_replaced(envoy, hand_over.requested(successors))
            await server.close_ports(GRACE_SECONDS)
            await envoy.close_port()
            await listeners.close_metrics()
            hand_over.confirm()


async def _take_over(predecessor: Predecessor, addresses: Sequence[Address]) -> None:
    """Steer new connections to this process, and make the predecessor close its ports."""
    shared = [address for address in addresses if address in predecessor.addresses.values()]
    async with steered_here(shared):
        await asyncio.sleep(SETTLE_SECONDS)
        await predecessor.resign()


async def _until_replaced(envoy: RunningEnvoy, replaced: Coroutine[Any, Any, None]) -> None:
    """Watch Envoy until `replaced` ends; raises EnvoyEndedError if Envoy fails again and again."""
    watching, requested = asyncio.create_task(envoy.watch()), asyncio.create_task(replaced)
    try:
        done, _ = await asyncio.wait([watching, requested], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in (watching, requested):
            await cancelled(task)


def warn(config: Config, log: FilteringBoundLogger) -> None:
    """Log a warning if authentication is off."""
    if config.auth.mode == "none":
        log.warning("auth.off", reason="auth.mode is none: everybody who reaches Berth may do everything")


def _on_sighup(act: Callable[[], None], stack: AsyncExitStack) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, act)
    stack.callback(loop.remove_signal_handler, signal.SIGHUP)


def _build_limiter(config: Config, stack: AsyncExitStack, log: FilteringBoundLogger) -> Limiter:
    """Return the limiter: on the server that all replicas share, if one is configured, or in this process."""
    if config.limits.url is None:
        return MemoryLimits()
    from berth.adapters.valkey.limits import ValkeyLimits  # noqa: PLC0415 - its client takes 10 MiB of memory

    open_when_away = config.limits.when_unavailable == "open"
    shared = ValkeyLimits(config.limits.url.get_secret_value(), open_when_away=open_when_away, log=log)
    stack.push_async_callback(shared.close)
    return shared


def build_json_bodies(max_bytes: int, *, passes_skills: bool) -> JsonBodies:
    """Return the reader of JSON bodies.

    With `passes_skills` the body of CreateContainer may be larger by one inline skill, which passthrough providers
    accept.
    """
    contract = load_contract()
    file = json_bodies(contract)
    pool = DescriptorPool()  # not the default pool, which reflection shows to callers
    for described in (*contract.file, file):
        pool.Add(described)
    service = pool.FindServiceByName(f"{file.package}.{file.service[0].name}")
    return JsonBodies(service, max_bytes, {"CreateContainer": MAX_SKILL_LENGTH} if passes_skills else {})


def _build_server(
    config: Config,
    backends: Backends,
    credentials: Credentials,
    *,
    login_throttle: LoginThrottle,
    limiter: Limiter,
    log: FilteringBoundLogger,
    metrics: Metrics,
    envoy_on_socket: bool,
) -> Server:
    trust = Trust(config.listen.trusted_hops, config.listen.trust_sidecar, envoy_on_socket)
    containers = container_service_pb2.DESCRIPTOR.services_by_name["ContainerService"]
    container_files = container_file_service_pb2.DESCRIPTOR.services_by_name["ContainerFileService"]
    files = file_service_pb2.DESCRIPTOR.services_by_name["FileService"]
    return Server(
        {
            containers: ContainerHandlers(),
            container_files: ContainerFileHandlers(max_json_bytes=config.listen.max_json_bytes),
            files: FileHandlers(),
        },
        shares_port=envoy_on_socket,
        json_bodies=build_json_bodies(config.listen.max_json_bytes, passes_skills=bool(config.passed_through())),
        admit=admission(backends.containers, backends.files),
        trust=trust,
        interceptors=[
            request_interceptor(
                log,
                metrics,
                new_request_id=lambda: new_id("req_", 32),
                trust=trust,
                patience=Patience(config.listen.json_seconds, config.listen.min_bytes_per_second),
            ),
            errors_interceptor(log),
            audit_interceptor(log),
            auth_interceptor(credentials, login_throttle),
            limits_interceptor(Gate(limiter), TenantSlots(config.limits.in_flight.model_dump())),
        ],
    )
