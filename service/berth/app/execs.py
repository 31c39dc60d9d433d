"""Builds what runs commands in hosted containers."""

import os
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.adapters.egress.process import EgressProcess, EgressSettings
from berth.adapters.sql.database import Database
from berth.adapters.sql.exec.store import SqlExecs
from berth.adapters.sql.keys import SqlKeys
from berth.app.listeners import GRACE_SECONDS
from berth.app.observation.build import Observation
from berth.app.sources import clock_of, new_id
from berth.config import Config
from berth.config.model import Exec
from berth.core.auth.credentials import Credentials
from berth.core.caller import Caller
from berth.core.exec.availability import Availability, KernelRule
from berth.core.exec.backend import ExecBackend
from berth.core.exec.capacity import ExecCapacity
from berth.core.exec.egress import Egress, EgressCounts
from berth.core.exec.execution import Report, Tools
from berth.core.exec.harvest import Harvester
from berth.core.exec.hosted import GIBIBYTE, ExecReports, ExecRules, HostedExecs
from berth.core.exec.idempotent import IdempotentExecs
from berth.core.exec.requests import ExecLimits
from berth.core.exec.sandbox import Sandbox
from berth.core.exec.sessions.sessions import Sessions, living_in
from berth.core.exec.workspace import Layout
from berth.core.hosted.content import ContentStore
from berth.core.idempotency.leases import Leases
from berth.core.ports.container_store import ContainerStore, Quotas
from berth.core.ports.metrics import Metrics
from berth.core.providers import PROVIDERS
from berth.core.routing.router import Router
from berth.core.routing.unsupported import UnsupportedBackend, UnsupportedExecs
from berth.launch.private_folder import EXEC_PREFIX, private_folder
from berth.v1.provider_pb2 import Provider

if TYPE_CHECKING:
    from berth.adapters.sandbox.cgroups import Delegated

OFF = "exec.driver is off"
WAITING = (
    f"the service stops when they have ended, at the latest after {GRACE_SECONDS:.0f} seconds, or at a second signal"
)

_PATH = re.compile(r"(?<![\w.])/(?!proc\b|etc/apparmor\.d\b)[\w.@+-]+(?:/[\w.@+-]+)+")


class SandboxDriver(NamedTuple):
    """A sandbox, whether it shares the kernel of the machine, and where its groups of processes are."""

    sandbox: Sandbox
    shares_kernel: bool
    cgroups: "Delegated | None" = None


class OpenedSandbox(NamedTuple):
    """The driver that works here, the folder for its commands and their memory; None if none does, for the `reason`."""

    driver: SandboxDriver | None
    folder: Path
    capacity_bytes: int
    reason: str = ""


BuildSandbox = Callable[[Config, Path], SandboxDriver | str]
"""Returns the configured driver, for commands with their files in a folder, or why there is none."""


class Execs(NamedTuple):
    """The router for commands, the backend that runs them, and whether it may."""

    router: Router[ExecBackend]
    hosted: HostedExecs
    availability: Availability


class HostedParts(NamedTuple):
    """What hosted containers consist of, which commands use as well."""

    containers: ContainerStore
    content: ContentStore
    leases: Leases
    quotas: Quotas


def build_sandbox(config: Config, folder: Path) -> SandboxDriver | str:
    """Return the configured driver, or why there is none; see BuildSandbox. It is imported only if it is used."""
    settings = config.exec
    if settings.driver == "off":
        return OFF
    from berth.adapters.sandbox.cgroups import find_cgroups  # noqa: PLC0415 - used only if commands are run

    cgroups = find_cgroups(settings.cgroup)
    if cgroups.is_required and cgroups.folder is None:
        return cgroups.reason
    if settings.driver != "bubblewrap" and settings.runsc is not None:
        from berth.adapters.sandbox.gvisor import Gvisor  # noqa: PLC0415 - as above

        sandbox = Gvisor(folder, settings.runsc, runtime=settings.runtime, cgroups=cgroups)
        return SandboxDriver(sandbox, shares_kernel=False, cgroups=cgroups)
    from berth.adapters.sandbox.bubblewrap import Bubblewrap  # noqa: PLC0415 - as above

    sandboxed = Bubblewrap(folder, runtime=settings.runtime, cgroups=cgroups)
    return SandboxDriver(sandboxed, shares_kernel=True, cgroups=cgroups)


async def open_sandbox(
    config: Config, stack: AsyncExitStack, build: BuildSandbox, log: FilteringBoundLogger, *, workers: int
) -> OpenedSandbox:
    """Return the driver if a command can be run with it now; otherwise log why not and what to do. `stack` closes it.

    Its folder is one that only this process uses, which is one of `workers`.
    """
    capacity = config.exec.capacity_bytes or share_of_memory(memory_of_machine(), workers)
    folder = stack.enter_context(private_folder(config.data_dir, EXEC_PREFIX))
    write = log.warning if _is_named(config.exec) else log.info
    built = build(config, folder)
    if isinstance(built, str):
        if built != OFF:
            write("exec.off", reason=built)
        return OpenedSandbox(None, folder, capacity, _without_paths(built, config))
    stack.push_async_callback(built.sandbox.close)
    reason = await built.sandbox.probe()
    if reason is not None:
        write("exec.off", reason=reason)
        return OpenedSandbox(None, folder, capacity, _without_paths(reason, config))
    _log_cgroups(built.cgroups, log)
    return OpenedSandbox(built, folder, capacity)


def _is_named(settings: Exec) -> bool:
    """Return whether the operator has named what commands need."""
    is_path = Path(settings.cgroup).is_absolute()
    return settings.driver != "auto" or is_path or settings.runsc is not None or settings.runtime is not None


def _without_paths(reason: str, config: Config) -> str:
    """Return a reason that tenants may know: it has names of settings in place of paths, except for those of advice."""
    settings = config.exec
    named = {"exec.runtime": settings.runtime, "exec.runsc": settings.runsc, "data_dir": config.data_dir}
    for name, path in {**named, "exec.cgroup": Path(settings.cgroup)}.items():
        if path is not None:
            for text in {str(path.absolute()), str(path.resolve())} - {"/"}:
                reason = reason.replace(text, name)
    return _PATH.sub("a path of the machine", reason)


def _log_cgroups(cgroups: "Delegated | None", log: FilteringBoundLogger) -> None:
    """Log what bounds the memory of commands."""
    if cgroups is not None and cgroups.folder is not None:
        log.info("exec.cgroup", folder=str(cgroups.folder))
    elif cgroups is not None:
        log.info("exec.cgroup", folder=None, reason=cgroups.reason)


def open_egress(config: Config, stack: AsyncExitStack, metrics: Metrics) -> Egress:
    """Return the way to the network for commands; `stack` closes it."""
    settings = config.exec.egress

    def report(counts: EgressCounts) -> None:
        results = {"passed": counts.passed, "refused": counts.refused, "failed": counts.failed}
        metrics.egress_ended(results, size=counts.bytes)

    networks = [str(network) for network in settings.private_networks]
    egress = EgressProcess(EgressSettings(settings.ports, networks, settings.max_bytes), report)
    stack.push_async_callback(egress.close)
    return egress


def build_execs(
    config: Config,
    opened: OpenedSandbox,
    parts: HostedParts,
    *,
    database: Database,
    credentials: Credentials,
    egress: Egress,
    observation: Observation,
    log: FilteringBoundLogger,
) -> Execs:
    """Return what runs commands with the `opened` sandbox; the caller drains it."""
    metrics, availability = observation.metrics, _availability(config, opened, database, credentials, log)
    store, limits = SqlExecs(database), _limits(config)
    capacity = ExecCapacity(opened.capacity_bytes, tenant_bytes=config.exec.tenant_capacity_bytes)
    hosted = HostedExecs(
        containers=parts.containers,
        store=store,
        rules=ExecRules(
            availability,
            limits,
            capacity,
            _sessions(opened, parts, limits, capacity, clock_of(database)),
        ),
        tools=_tools(config, opened, parts, store, log, egress),
        reports=ExecReports(
            _audit(log),
            lambda outcome, seconds: metrics.exec_ended(outcome, seconds=seconds),
            metrics.exec_began,
            observation.tracer,
            lambda number: log.info("exec.waiting", commands=number, reason=WAITING),
        ),
        now=clock_of(database),
        new_id=new_id,
        background=parts.leases.background,
    )
    backends: dict[Provider, ExecBackend] = {}
    once = IdempotentExecs(hosted, store, parts.leases)
    for name, provider in PROVIDERS.items():
        kind = config.backend_of(name)
        if kind == "hosted":
            backends[provider] = once
        elif kind == "unsupported":
            backends[provider] = UnsupportedBackend(provider)
        elif name in config.passed_through():
            backends[provider] = UnsupportedExecs(provider)
    direct = frozenset(PROVIDERS[name] for name in config.passed_through()) if config.auth.allow_direct_keys else ()
    router = Router(backends, hosted=once, store=parts.containers, direct=frozenset(direct))
    return Execs(router, hosted, availability)


def _sessions(
    opened: OpenedSandbox, parts: HostedParts, limits: ExecLimits, capacity: ExecCapacity, now: Callable[[], int]
) -> Sessions:
    return Sessions(
        opened.folder,
        capacity,
        maximum=limits.sessions,
        idle_seconds=limits.session_idle_seconds,
        is_living=living_in(parts.containers, now),
    )


def _limits(config: Config) -> ExecLimits:
    settings = config.exec
    return ExecLimits(
        timeout_seconds=settings.timeout_seconds,
        max_timeout_seconds=settings.max_timeout_seconds,
        output_bytes=settings.output_bytes,
        processes=settings.processes,
        disk_bytes=settings.disk_bytes,
        files=settings.files,
        sessions=settings.sessions,
        session_idle_seconds=settings.session_idle_seconds,
    )


def _availability(
    config: Config, opened: OpenedSandbox, database: Database, credentials: Credentials, log: FilteringBoundLogger
) -> Availability:
    driver = opened.driver
    if driver is None or not driver.shares_kernel:
        return Availability(driver.sandbox if driver else None, opened.reason, kernel=None)
    tenants = _Tenants(config, database, credentials)
    rule = KernelRule(config.exec.accept_shared_kernel, is_public(config), tenants.count)
    return Availability(driver.sandbox, "", rule, _changes_to(log))


def _changes_to(log: FilteringBoundLogger) -> Callable[[str | None], None]:
    """Return what logs why commands are refused, and that they are not any more, each time that has changed."""
    before: str | None = None

    def report(refusal: str | None) -> None:
        nonlocal before
        if refusal != before:
            log.info("exec.off", reason=refusal) if refusal else log.info("exec.on")
        before = refusal

    return report


def is_public(config: Config) -> bool:
    """Return whether other machines may reach a listener, by themselves or through a proxy in front of it."""
    listen = config.listen
    is_local = listen.grpc.is_loopback and listen.rest.is_loopback
    return not is_local or listen.trust_sidecar or listen.trusted_hops > 0


class _Tenants:
    """Counts the tenants that can reach hosted containers now."""

    def __init__(self, config: Config, database: Database, credentials: Credentials) -> None:
        self._hosted = frozenset(
            provider for name, provider in PROVIDERS.items() if config.backend_of(name) == "hosted"
        )
        self._keys = SqlKeys(database)
        self._credentials = credentials

    async def count(self) -> int:
        """Return the number of tenants with a key, user or certificate that may use a hosted provider."""
        stored = [entry.key.caller for entry in await self._keys.entries() if entry.revoked_at is None]
        return len({caller.tenant for caller in (*self._credentials.configured(), *stored) if self._reaches(caller)})

    def _reaches(self, caller: Caller) -> bool:
        return caller.providers is None or not self._hosted.isdisjoint(caller.providers)


def _tools(
    config: Config,
    opened: OpenedSandbox,
    parts: HostedParts,
    store: SqlExecs,
    log: FilteringBoundLogger,
    egress: Egress,
) -> Tools | None:
    """Return the tools of commands; None without a sandbox."""
    driver = opened.driver
    if driver is None:
        return None

    def report_failure(exec_id: str, error: BaseException) -> None:
        log.error("exec.failed", id=exec_id, reason=str(error), cause=repr(error.__cause__))

    return Tools(
        store=store,
        sandbox=driver.sandbox,
        egress=egress,
        layout=Layout(parts.containers, parts.content),
        harvester=Harvester(driver.sandbox.harvest, parts.content, new_id),
        content=parts.content,
        quotas=parts.quotas,
        limits=_limits(config),
        folder=opened.folder,
        process=parts.leases.owner,
        report_failure=report_failure,
    )


def memory_of_machine() -> int:
    """Return how many bytes of memory there are."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def share_of_memory(size: int, workers: int) -> int:
    """Return how much memory the commands of one of several workers have; enough for one command in any case."""
    return max(size // workers, min(size, GIBIBYTE))


def _audit(log: FilteringBoundLogger) -> Report:
    trail = log.bind(audit=True)
    return lambda event, facts: trail.info(event, **facts)
