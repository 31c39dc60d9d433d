"""Builds the stores, the backend of each provider, and the routers that choose a backend."""

import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.adapters.memory.cache import MemoryCache
from berth.adapters.sql import opening
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Database
from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.idempotency import SqlIdempotency
from berth.adapters.sql.upkeep.store import SqlUpkeep
from berth.app.execs import HostedParts
from berth.app.observation.build import Observation
from berth.app.sources import Clock, clock_of, new_id
from berth.app.stores.blobs import OpenBlobs, open_blobs
from berth.app.stores.database import database_settings
from berth.app.usage import Accounting
from berth.config import Config
from berth.core.background import BackgroundTasks
from berth.core.errors import StorageError
from berth.core.exec.backend import ExecBackend
from berth.core.hosted.container_rules import HostedLimits
from berth.core.hosted.containers import HostedBackend
from berth.core.hosted.content import ContentStore
from berth.core.hosted.files import HostedFiles
from berth.core.hosted.steady_clock import SteadyClock
from berth.core.hosted.sweeper import Retention, Sweeper
from berth.core.idempotency.backend import IdempotentBackend, IdempotentFiles
from berth.core.idempotency.leases import Leases
from berth.core.ports.backend import Backend
from berth.core.ports.blob_store import BlobStore
from berth.core.ports.cipher import Cipher
from berth.core.ports.container_store import Quotas
from berth.core.ports.file_backend import FileBackend
from berth.core.ports.response_cache import ResponseCache
from berth.core.providers import PROVIDERS
from berth.core.routing.accounts import Accounts
from berth.core.routing.file_ownership import FileOwnership
from berth.core.routing.router import Router
from berth.core.routing.unsupported import UnsupportedBackend
from berth.core.usage.budgets import Budgets
from berth.launch.refusal import StartError
from berth.v1.provider_pb2 import Provider

if TYPE_CHECKING:
    from berth.app.passthrough import Passthrough

DRAIN_SECONDS = 10.0
"""How long a shutdown waits for background tasks that still run after their calls have ended."""


class Backends(NamedTuple):
    """The routers for containers and files, the sweeper, the store of content, and what counts usage.

    `parts` are what hosted containers consist of; `execs` is the router for commands, which is built of them.
    `passed_through` has the backends of providers that are passed through, None if no provider is.
    """

    containers: Router[Backend]
    files: Router[FileBackend]
    sweeper: Sweeper
    blobs: OpenBlobs
    accounting: Accounting
    passed_through: "Passthrough | None"
    parts: HostedParts
    execs: Router[ExecBackend] | None = None

    def replace_keys(self, config: Config) -> None:
        """Replace the keys of the providers by those of `config`, of the providers that are passed through now."""
        if self.passed_through is not None:
            self.passed_through.replace_keys(config)


async def open_database(
    config: Config, stack: AsyncExitStack, *, is_shared: bool, log: FilteringBoundLogger
) -> Database:
    """Open the database; `stack` closes it.

    Raises StartError if it cannot be opened or, with `is_shared`, migrated while an older version uses it.
    """
    with _report_storage_errors("store.url"):
        database = await opening.open_database(
            database_settings(config),
            is_shared=is_shared,
            report=lambda reason: log.warning("store.waiting", reason=reason),
        )
    stack.push_async_callback(database.aclose)
    return database


def build_backends(
    config: Config,
    stack: AsyncExitStack,
    *,
    database: Database,
    accounting: Accounting,
    log: FilteringBoundLogger,
    observation: Observation,
    caches: bool = True,
) -> Backends:
    """Open the blob store and build a backend for each configured provider; `stack` closes everything.

    Responses of providers are cached if `caches` is set. Raises StartError if the blob store or a file of authorities
    cannot be used.
    """
    store, file_store, now = SqlStore(database, cipher=_cipher(config)), SqlFiles(database), clock_of(database)
    background, budgets = BackgroundTasks(), accounting.budgets
    leases = Leases(
        SqlIdempotency(database),
        keep_seconds=config.idempotency.hours * 3600,
        now=now,
        new_id=new_id,
        background=background,
    )
    blobs = _open_blobs(config, stack)
    observed = observation.of_blobs(blobs, config)
    hosted, hosted_files, parts = _build_hosted(
        config, store, file_store, blobs=observed, leases=leases, budgets=budgets, log=log
    )
    passed = _build_passthrough(
        config,
        stack,
        database=database,
        cache=_build_cache(config, stack, log, caches=caches),
        leases=leases,
        budgets=budgets,
        log=log,
        observation=observation,
    )
    known = passed.known if passed else Accounts({})
    backends, files = ({**passed.containers}, {**passed.files}) if passed else ({}, {})
    stack.push_async_callback(background.drain, DRAIN_SECONDS)
    direct = frozenset(backends) if config.auth.allow_direct_keys else frozenset()
    for name, provider in PROVIDERS.items():
        kind = config.backend_of(name)
        if kind == "hosted":
            backends[provider], files[provider] = hosted, hosted_files
        elif kind == "unsupported":
            unsupported = UnsupportedBackend(provider)
            backends[provider], files[provider] = unsupported, unsupported
    default = PROVIDERS[config.default_provider] if config.default_provider else Provider.PROVIDER_UNSPECIFIED
    return Backends(
        Router(backends, hosted=hosted, store=store, direct=direct, default_provider=default, accounts=known),
        Router(
            files,
            hosted=hosted_files,
            store=file_store,
            resource="file",
            direct=direct,
            default_provider=default,
            accounts=known,
        ),
        _build_sweeper(config, store, file_store, observed, SqlUpkeep(database, owner=leases.owner), now),
        blobs,
        accounting,
        passed,
        parts,
    )


def _build_cache(config: Config, stack: AsyncExitStack, log: FilteringBoundLogger, *, caches: bool) -> ResponseCache:
    """Return the response cache: on the server that all replicas share, if one is configured, or in this process."""
    if config.cache.url is None:
        return MemoryCache(config.cache.max_bytes if caches else 0, timer=time.monotonic)
    from berth.adapters.valkey.cache import ValkeyCache  # noqa: PLC0415 - its client takes 10 MiB of memory

    shared = ValkeyCache(config.cache.url.get_secret_value(), log=log)
    stack.push_async_callback(shared.close)
    return shared


def _build_passthrough(
    config: Config,
    stack: AsyncExitStack,
    *,
    database: Database,
    cache: ResponseCache,
    leases: Leases,
    budgets: Budgets,
    log: FilteringBoundLogger,
    observation: Observation,
) -> "Passthrough | None":
    """Return the backends of providers that are passed through, None if no provider is.

    OpenAI is, unless callers may not send keys of their own.
    """
    if not config.passed_through():
        return None
    from berth.app.passthrough import build_passthrough  # noqa: PLC0415 - aiohttp takes 8 MiB and 0.1 s of a core

    return build_passthrough(
        config, stack, database=database, cache=cache, leases=leases, budgets=budgets, log=log, observation=observation
    )


def _cipher(config: Config) -> Cipher | None:
    """Return the cipher for secrets at rest, None if no key is configured."""
    if config.store.secret_key is None:
        return None
    from berth.adapters.encryption.aes_gcm import AesGcm  # noqa: PLC0415 - its library takes 7 MiB of memory

    return AesGcm(config.store.secret_key_bytes())


def _build_sweeper(
    config: Config, store: SqlStore, file_store: SqlFiles, blobs: BlobStore, upkeep: SqlUpkeep, now: Clock
) -> Sweeper:
    return Sweeper(
        store,
        file_store,
        blobs,
        upkeep,
        clock=SteadyClock(now=now, monotonic=time.monotonic),
        retention=Retention(
            expired_seconds=config.hosted.retention_hours * 3600,
            deleted_seconds=config.tombstone_seconds(),
            usage_days=config.usage.days,
        ),
    )


def _open_blobs(config: Config, stack: AsyncExitStack) -> OpenBlobs:
    with _report_storage_errors("blobs.url"):
        blobs = open_blobs(config)
    stack.callback(blobs.close)
    return blobs


def _build_hosted(
    config: Config,
    store: SqlStore,
    file_store: SqlFiles,
    *,
    blobs: BlobStore,
    leases: Leases,
    budgets: Budgets,
    log: FilteringBoundLogger,
) -> tuple[Backend, FileBackend, HostedParts]:
    """Return the hosted backends for containers and for files, wrapped in idempotency, and what they consist of."""
    limits = HostedLimits(
        default_minutes=config.hosted.default_minutes,
        max_minutes=config.hosted.max_minutes,
        max_file_bytes=config.hosted.max_file_bytes,
        quotas=Quotas(config.hosted.max_container_bytes, config.hosted.max_tenant_bytes),
    )
    content = ContentStore(
        blobs,
        max_bytes=limits.max_file_bytes,
        new_id=new_id,
        background=leases.background,
        report_damage=lambda blob: log.error("blob.damaged", blob=blob),
        report_left=lambda error: log.warning("blobs.left", reason=error.message, cause=repr(error.__cause__)),
    )
    containers = HostedBackend(
        store=store,
        files=FileOwnership(file_store),
        content=content,
        limits=limits,
        now=leases.now,
        new_id=new_id,
        background=leases.background,
        budgets=budgets,
    )
    files = HostedFiles(store=file_store, content=content, quotas=limits.quotas, now=leases.now, new_id=new_id)
    parts = HostedParts(store, content, leases, limits.quotas)
    return IdempotentBackend(containers, leases, resumes=True), IdempotentFiles(files, leases, resumes=True), parts


@contextmanager
def _report_storage_errors(setting: str) -> Iterator[None]:
    """Raise StartError, naming the setting, if a storage cannot be opened."""
    try:
        yield
    except StorageError as error:
        raise StartError(f"{setting}: {error.message}") from error
