"""Builds the stores, the backend of each provider, and the routers that choose a backend."""

import secrets
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.adapters.blobs.folder import FileBlobs
from berth.adapters.memory.cache import MemoryCache
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.files import SqlFiles
from berth.adapters.sql.idempotency import SqlIdempotency
from berth.adapters.sql.upkeep.store import SqlUpkeep
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.containers import PassthroughBackend
from berth.adapters.upstream.files import PassthroughFiles
from berth.adapters.upstream.settings import AZURE, OPENAI, UpstreamKey, UpstreamSettings
from berth.config import Config
from berth.config.model import ProviderSettings
from berth.core.background import BackgroundTasks
from berth.core.caching.backend import CachedBackend
from berth.core.errors import StorageError
from berth.core.hosted.container_rules import HostedLimits
from berth.core.hosted.containers import HostedBackend
from berth.core.hosted.content import ContentStore
from berth.core.hosted.files import HostedFiles
from berth.core.hosted.steady_clock import SteadyClock
from berth.core.hosted.sweeper import Sweeper
from berth.core.idempotency.backend import IdempotentBackend, IdempotentFiles
from berth.core.idempotency.leases import Leases
from berth.core.ports.backend import Backend
from berth.core.ports.cipher import Cipher
from berth.core.ports.container_store import Quotas
from berth.core.ports.file_backend import FileBackend
from berth.core.ports.metrics import Metrics
from berth.core.providers import PROVIDERS
from berth.core.routing.file_ownership import FileOwnership
from berth.core.routing.file_references import FileReferences
from berth.core.routing.router import Router
from berth.core.routing.unsupported import UnsupportedBackend
from berth.launch.refusal import StartError
from berth.v1.provider_pb2 import Provider

DRAIN_SECONDS = 10.0
"""How long a shutdown waits for background tasks that still run after their calls have ended."""
_DIALECTS = {"openai": OPENAI, "azure": AZURE}


class Backends(NamedTuple):
    """The routers for containers and for files, and the sweeper for hosted data."""

    containers: Router[Backend]
    files: Router[FileBackend]
    sweeper: Sweeper


def open_database(config: Config, stack: AsyncExitStack, *, is_shared: bool) -> SqlDatabase:
    """Open the database; `stack` closes it.

    Raises StartError if it cannot be opened or, with `is_shared`, migrated while an older version uses it.
    """
    with _report_storage_errors("store.url"):
        database = SqlDatabase.open(config.store_url(), is_shared=is_shared)
    stack.callback(database.close)
    return database


def build_backends(
    config: Config, stack: AsyncExitStack, *, database: SqlDatabase, log: FilteringBoundLogger, metrics: Metrics
) -> Backends:
    """Open the blob store and build a backend for each configured provider; `stack` closes everything.

    Raises StartError if the blob store cannot be opened.
    """
    store, file_store = SqlStore(database, cipher=_cipher(config)), SqlFiles(database)
    background = BackgroundTasks()
    leases = Leases(
        SqlIdempotency(database),
        keep_seconds=config.idempotency.hours * 3600,
        now=now,
        new_id=new_id,
        background=background,
    )
    blobs = _open_blobs(config, stack)
    hosted, hosted_files = _build_hosted(config, store, file_store, blobs=blobs, leases=leases, log=log)
    backends, files = _build_passthrough(config, stack, database=database, leases=leases, log=log, metrics=metrics)
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
        Router(backends, hosted=hosted, store=store, direct=direct, default_provider=default),
        Router(files, hosted=hosted_files, store=file_store, resource="file", direct=direct, default_provider=default),
        _build_sweeper(config, store, file_store, blobs, SqlUpkeep(database)),
    )


def _cipher(config: Config) -> Cipher | None:
    """Return the cipher for secrets at rest, None if no key is configured."""
    if config.store.secret_key is None:
        return None
    from berth.adapters.encryption.aes_gcm import AesGcm  # noqa: PLC0415 - its library takes 7 MiB of memory

    return AesGcm(config.store.secret_key_bytes())


def _build_sweeper(
    config: Config, store: SqlStore, file_store: SqlFiles, blobs: FileBlobs, upkeep: SqlUpkeep
) -> Sweeper:
    return Sweeper(
        store,
        file_store,
        blobs,
        upkeep,
        clock=SteadyClock(now=now, monotonic=time.monotonic),
        retention_seconds=config.hosted.retention_hours * 3600,
        tombstone_seconds=config.tombstone_seconds(),
    )


def _build_passthrough(
    config: Config,
    stack: AsyncExitStack,
    *,
    database: SqlDatabase,
    leases: Leases,
    log: FilteringBoundLogger,
    metrics: Metrics,
) -> tuple[dict[Provider, Backend], dict[Provider, FileBackend]]:
    """Return the passthrough backends for containers and for files, wrapped in caching and idempotency."""
    cache = MemoryCache(config.cache.max_bytes, timer=time.monotonic)
    store, file_store = SqlStore(database), SqlFiles(database)
    backends: dict[Provider, Backend] = {}
    files: dict[Provider, FileBackend] = {}
    for name, settings in config.passed_through().items():
        provider, resumes = PROVIDERS[name], settings.honours_idempotency_keys
        account = UpstreamAccount(_upstream_settings(settings), provider=provider, now=now, log=log, metrics=metrics)
        stack.push_async_callback(account.close)
        references = FileReferences(file_store, provider)
        passthrough = PassthroughBackend(
            account, store=store, files=references, now=now, log=log, background=leases.background
        )
        cached = CachedBackend(
            passthrough,
            cache,
            provider=provider,
            default_ttl_seconds=settings.cache_seconds or config.cache.seconds,
            always=settings.cache_seconds is not None,
            now=now,
            new_id=new_id,
        )
        backends[provider] = IdempotentBackend(cached, leases, resumes=resumes)
        files[provider] = IdempotentFiles(
            PassthroughFiles(account, store=file_store, background=leases.background), leases, resumes=resumes
        )
    return backends, files


def _upstream_settings(settings: ProviderSettings) -> UpstreamSettings:
    return UpstreamSettings(
        base_url=settings.url(),
        dialect=_DIALECTS[settings.backend],
        keys=tuple(
            UpstreamKey(key.name, key.value.get_secret_value(), weight=key.weight, max_in_flight=key.max_in_flight)
            for key in settings.keys or ()
        ),
        timeout_seconds=settings.timeout_seconds,
        max_retries=settings.max_retries,
        extra_headers={name: value.get_secret_value() for name, value in settings.extra_headers.items()},
        proxy=settings.proxy,
        ca_file=settings.ca_file,
        api_version=settings.api_version,
        forwards_unknown=settings.unknown_fields == "forward",
    )


def _open_blobs(config: Config, stack: AsyncExitStack) -> FileBlobs:
    with _report_storage_errors("blobs.url"):
        blobs = FileBlobs.open(config.blobs_url())
    stack.callback(blobs.close)
    return blobs


def _build_hosted(
    config: Config,
    store: SqlStore,
    file_store: SqlFiles,
    *,
    blobs: FileBlobs,
    leases: Leases,
    log: FilteringBoundLogger,
) -> tuple[Backend, FileBackend]:
    """Return the hosted backends for containers and for files, wrapped in idempotency."""
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
    )
    containers = HostedBackend(
        store=store,
        files=FileOwnership(file_store),
        content=content,
        limits=limits,
        now=now,
        new_id=new_id,
        background=leases.background,
    )
    files = HostedFiles(store=file_store, content=content, quotas=limits.quotas, now=now, new_id=new_id)
    return IdempotentBackend(containers, leases, resumes=True), IdempotentFiles(files, leases, resumes=True)


@contextmanager
def _report_storage_errors(setting: str) -> Iterator[None]:
    """Raise StartError, naming the setting, if a storage cannot be opened."""
    try:
        yield
    except StorageError as error:
        raise StartError(f"{setting}: {error.message}") from error


def now() -> int:
    """Return the current time, in seconds since 1970-01-01 UTC."""
    return int(time.time())


def new_id(prefix: str, digits: int) -> str:
    """Return an unguessable id: `prefix` followed by `digits` random hexadecimal digits."""
    return prefix + secrets.token_hex(digits // 2)
