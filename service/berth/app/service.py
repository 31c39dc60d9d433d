"""The service of one process: stores, backends, credentials and the gRPC server, built from the configuration."""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from functools import cache, partial

from google.protobuf.descriptor_pool import DescriptorPool
from structlog.typing import FilteringBoundLogger

from berth.adapters.memory.limits import MemoryLimits
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.sql.database import Database
from berth.app.backends import Backends, build_backends, open_database
from berth.app.credentials import build_credentials, replace_callers
from berth.app.execs import BuildSandbox, build_execs, build_sandbox, open_egress, open_sandbox
from berth.app.listeners import GRACE_SECONDS, Listeners, connection_limits
from berth.app.mcp import build_mcp
from berth.app.observation.build import Observation, build_observation
from berth.app.readiness import CONTENT, LISTENER, STORE, Check, Readiness, probe_listener, watch_log, watch_readiness
from berth.app.sources import clock_of, new_id, version
from berth.app.upkeep import start_upkeep
from berth.app.usage import build_accounting
from berth.app.workers.assignment import Role
from berth.app.workers.sharing import caches_responses
from berth.config import Config
from berth.core.auth.credentials import Credentials
from berth.core.auth.login_throttle import LoginThrottle
from berth.core.auth.rate_limits import Gate, Limiter, TenantSlots
from berth.core.background import cancelled
from berth.core.errors import StorageError
from berth.core.limits import limits_of
from berth.core.observation.spans import NO_TRACER
from berth.launch.address import Address
from berth.launch.process.collection import exempt_existing
from berth.launch.process.connections import CAN_WATCH, watch_connections
from berth.launch.process.open_files import watch_open_files
from berth.rest.bodies import json_bodies
from berth.rest.view import load_contract
from berth.rpc.call import Interceptor
from berth.rpc.handlers.container_execs import ContainerExecHandlers
from berth.rpc.handlers.container_files import ContainerFileHandlers
from berth.rpc.handlers.containers import ContainerHandlers
from berth.rpc.handlers.files import FileHandlers
from berth.rpc.handlers.usage import UsageHandlers
from berth.rpc.interceptors.admission import admission
from berth.rpc.interceptors.audit import audit_interceptor
from berth.rpc.interceptors.auth import auth_interceptor
from berth.rpc.interceptors.budgets import budgets_interceptor
from berth.rpc.interceptors.errors import errors_interceptor
from berth.rpc.interceptors.limits import limits_interceptor
from berth.rpc.interceptors.request import request_interceptor
from berth.rpc.interceptors.tracing import tracing_interceptor
from berth.rpc.interceptors.unread import UnreadAnswers, unread_interceptor
from berth.rpc.json_methods import JsonBodies
from berth.rpc.mcp.operations import operation_interceptor
from berth.rpc.page_calls import PageCalls
from berth.rpc.patience import Patience
from berth.rpc.peer import Trust
from berth.rpc.server import Server
from berth.rpc.tls.check import CertificateCheck
from berth.telemetry.writer import ThreadedWriter
from berth.v1 import (
    container_exec_service_pb2,
    container_file_service_pb2,
    container_service_pb2,
    file_service_pb2,
    mcp_service_pb2,
    usage_service_pb2,
)
from berth.v1.container_service_pb2 import SkillSource
from berth.web.site import Site, site_files

NAMES_ALONE = (
    "x-forwarded-client-cert has names without a certificate, or what several proxies have written, so it identifies "
    "no caller; the sidecar needs forward_client_cert_details: SANITIZE_SET and "
    "set_current_client_cert_details: {cert: true}"
)
MIGRATION_GRACE_SECONDS = 1.0
"""How long a migration may go on after a signal."""
MAX_SKILL_LENGTH = limits_of(SkillSource, "data").max_length
"""How long the text of an inline skill may be (OpenAI's reference)."""


class LocalService:
    """The service in this process. It is closed by `stack`: it takes no new calls then, and finishes running ones."""

    def __init__(
        self,
        config: Config,
        stack: AsyncExitStack,
        listeners: Listeners,
        role: Role,
        *,
        log: FilteringBoundLogger,
        log_writer: ThreadedWriter,
        sandbox: BuildSandbox = build_sandbox,
    ) -> None:
        self.metrics = PrometheusMetrics(lambda: log_writer.dropped, version=version())
        self._config = config
        self._stack = stack
        self._listeners = listeners
        self._role = role
        self._log = log
        self._log_writer = log_writer
        self._sandbox = sandbox
        self._readiness = Readiness()

    async def open(self) -> None:
        """Open the stores, and build the server. StartError if that fails."""
        config, stack, log, role = self._config, self._stack, self._log, self._role
        observation = build_observation(config, stack, self.metrics, log)
        database = await _open_database(config, stack, is_shared=role.is_shared, log=log)
        self._database = observation.of_database(database, config)
        accounting = build_accounting(config, stack, database=self._database, log=log)
        self._backends = build_backends(
            config,
            stack,
            database=self._database,
            accounting=accounting,
            log=log,
            observation=observation,
            caches=caches_responses(config, role.workers),
        )
        self._credentials = build_credentials(
            config, self._database, first_key=role.first_key, now=clock_of(self._database)
        )
        self._execs = build_execs(
            config,
            await open_sandbox(config, stack, self._sandbox, log, workers=role.workers),
            self._backends.parts,
            database=self._database,
            credentials=self._credentials,
            egress=open_egress(config, stack, self.metrics),
            observation=observation,
            log=log,
        )
        self._server = _build_server(
            config,
            self._backends._replace(execs=self._execs.router),
            auth=_build_auth(config, self._credentials, self._listeners, log),
            limiter=_build_limiter(config, stack, log),
            log=log,
            observation=observation,
            role=role,
            audit_available=lambda: config.audit.when_unavailable == "drop" or self._log_writer.is_available,
        )
        site = Site(site_files(), self._readiness.results)
        self._server.add(
            PageCalls(site, trust=_trust(config, role), log=log, limited=self.metrics.call_limited).routes()
        )

    async def start(self) -> Address:
        """Serve; return the address of gRPC. StartError if it cannot be used."""
        address = self._listeners.bind(self._server)
        await self._server.start()
        with suppress(StorageError):  # each command asks again
            await self._execs.availability.refusal()  # the log says at the start if commands are refused
        self._watch_connections(address.port)
        start_upkeep(self._backends.sweeper, self._database, self._stack, self._log, self.metrics)
        self._stack.push_async_callback(self._drain)
        return address

    def _watch_connections(self, port: int) -> None:
        """Limit the connections of each address, unless balancers connect for many clients."""
        config = self._config.listen
        if not CAN_WATCH or config.trusted_hops:
            return
        most = config.max_connections_per_address or connection_limits(self._config, rest=self._role.rest)[0] // 2
        watching = watch_connections(port, most=max(1, most), spares_own=config.trust_sidecar, log=self._log)
        self._stack.push_async_callback(cancelled, asyncio.create_task(watching))

    async def _drain(self) -> None:
        """Take no more calls once balancers know; let running calls and commands finish, at the same time."""
        self._readiness.resign()
        await self._server.give_notice()
        await asyncio.gather(self._server.drain(GRACE_SECONDS), self._execs.hosted.drain(GRACE_SECONDS))

    async def watch(self, rest: Address | None) -> None:
        """Report from now on whether the store and the Envoy at `rest` answer. All else has been started."""
        self._readiness.begin(_checks(self._config, self._database, self._backends, rest))
        for watching in (
            watch_readiness(self._server, self._readiness, self._log),
            watch_log(self._server, lambda: self._log_writer.is_available),
            watch_open_files(self._log),
        ):
            self._stack.push_async_callback(cancelled, asyncio.create_task(watching))
        exempt_existing()

    async def reload(self, config: Config) -> None:
        """Use the callers and the keys at providers of another configuration."""
        replace_callers(self._credentials, config, self._role.first_key)
        self._backends.replace_keys(config)

    async def resign(self) -> None:
        """Report NOT_SERVING but go on serving."""
        self._readiness.resign()
        await self._server.resign()

    async def close_ports(self) -> None:
        """Accept no more connections, except from the own Envoy."""
        await self._server.close_ports(GRACE_SECONDS)

    async def ended(self) -> None:
        """Wait for ever: the service ends with this process."""
        await asyncio.Event().wait()


def _checks(config: Config, database: Database, backends: Backends, rest_address: Address | None) -> dict[str, Check]:
    """Return what must answer while Berth is ready, by name."""
    checks: dict[str, Check] = {STORE: database.check, CONTENT: backends.blobs.check}
    if rest_address:
        checks[LISTENER] = partial(probe_listener, rest_address.to_call(), is_encrypted=config.tls is not None)
    return checks


async def _open_database(
    config: Config, stack: AsyncExitStack, *, is_shared: bool, log: FilteringBoundLogger
) -> Database:
    """Open the database, which takes a while if a thread migrates it, and has to stop at a signal meanwhile.

    A thread cannot be cancelled, so the process exits if it does not end soon. The database undoes the migration.
    """
    try:
        return await open_database(config, stack, is_shared=is_shared, log=log)
    except asyncio.CancelledError:
        asyncio.get_running_loop().call_later(MIGRATION_GRACE_SECONDS, os._exit, 0)
        raise


def _build_auth(
    config: Config, credentials: Credentials, listeners: Listeners, log: FilteringBoundLogger
) -> Interceptor:
    login_throttle = LoginThrottle(free=config.auth.free_failures_per_minute, timer=time.monotonic, sleep=asyncio.sleep)
    check = CertificateCheck(listeners.trusted, partial(datetime.now, UTC))
    if config.tls is not None or config.listen.trust_sidecar:
        # What the first certificate needs, now: by then the files on the disk may be those of another version.
        import berth.rpc.tls.validity  # noqa: F401, PLC0415 - cryptography takes 7 MiB, which others do without
    # `cache` calls it once: what the log says of one call holds for all.
    report_once = cache(partial(log.warning, "auth.certificate_not_forwarded", reason=NAMES_ALONE))
    return auth_interceptor(credentials, login_throttle, check, report_names_alone=report_once)


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


def _trust(config: Config, role: Role) -> Trust:
    return Trust(config.listen.trusted_hops, config.listen.trust_sidecar, role.rest)


def _build_server(
    config: Config,
    backends: Backends,
    *,
    auth: Interceptor,
    limiter: Limiter,
    log: FilteringBoundLogger,
    observation: Observation,
    role: Role,
    audit_available: Callable[[], bool],
) -> Server:
    trust, logged = _trust(config, role), config.log.sampling_ratio
    metrics, tracer = observation.metrics, observation.tracer
    containers = container_service_pb2.DESCRIPTOR.services_by_name["ContainerService"]
    container_files = container_file_service_pb2.DESCRIPTOR.services_by_name["ContainerFileService"]
    container_execs = container_exec_service_pb2.DESCRIPTOR.services_by_name["ContainerExecService"]
    files = file_service_pb2.DESCRIPTOR.services_by_name["FileService"]
    usage = usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"]
    mcp = mcp_service_pb2.DESCRIPTOR.services_by_name["McpService"]
    admit = admission(backends.containers, backends.files, backends.execs)
    audit = audit_interceptor(log, audit_available)
    limits: list[Interceptor] = [
        budgets_interceptor(backends.accounting.budgets),
        limits_interceptor(Gate(limiter), TenantSlots(config.limits.in_flight.model_dump())),
    ]
    return Server(
        {
            containers: ContainerHandlers(),
            container_files: ContainerFileHandlers(max_json_bytes=config.listen.max_json_bytes),
            container_execs: ContainerExecHandlers(),
            files: FileHandlers(),
            usage: UsageHandlers(backends.accounting.reports),
            mcp: build_mcp(
                config,
                backends,
                admit=admit,
                interceptors=[operation_interceptor(log, metrics, tracer, logged), audit, *limits],
            ),
        },
        shares_port=role.rest or role.workers > 1,
        max_connections=connection_limits(config, rest=role.rest)[0],
        limited=metrics.call_limited,
        json_bodies=build_json_bodies(config.listen.max_json_bytes, passes_skills=bool(config.passed_through())),
        admit=admit,
        trust=trust,
        interceptors=[
            request_interceptor(
                log,
                metrics,
                new_request_id=lambda: new_id("req_", 32),
                usage=backends.accounting.calls,
                trust=trust,
                patience=Patience(config.listen.json_seconds, config.listen.min_bytes_per_second),
                logged_successes=logged,
            ),
            *([] if tracer is NO_TRACER else [tracing_interceptor(tracer)]),
            errors_interceptor(log),
            audit,
            auth,
            unread_interceptor(UnreadAnswers()),
            *limits,
        ],
    )
