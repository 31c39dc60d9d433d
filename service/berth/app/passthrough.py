"""Builds the backends of the providers that are passed through: their accounts, caching and idempotency.

It loads the client for their APIs, so it is imported only if there is such a provider.
"""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from hashlib import blake2b
from typing import NamedTuple

from structlog.typing import FilteringBoundLogger

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.database import Database
from berth.adapters.sql.files import SqlFiles
from berth.adapters.upstream.account import UpstreamAccount
from berth.adapters.upstream.containers import PassthroughBackend
from berth.adapters.upstream.dialects import DIALECTS
from berth.adapters.upstream.files import PassthroughFiles
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.app.authorities import provider_authorities
from berth.app.observation.build import Observation
from berth.app.sources import new_id
from berth.config import Config
from berth.config.providers import ProviderSettings
from berth.core.caching.backend import CachedBackend
from berth.core.idempotency.backend import IdempotentBackend, IdempotentFiles
from berth.core.idempotency.leases import Leases
from berth.core.ports.backend import Backend
from berth.core.ports.file_backend import FileBackend
from berth.core.ports.response_cache import ResponseCache
from berth.core.providers import PROVIDERS
from berth.core.routing.accounts import Accounts
from berth.core.usage.budgets import Budgets
from berth.v1.provider_pb2 import Provider


class Passthrough(NamedTuple):
    """The backends of the providers, which use `known`, all accounts.

    The accounts are found by the provider's name, and so are the fingerprints of their keys.
    """

    containers: dict[Provider, Backend]
    files: dict[Provider, FileBackend]
    known: Accounts
    accounts: Mapping[str, UpstreamAccount]
    fingerprints: dict[str, str]

    def replace_keys(self, config: Config) -> None:
        """Replace the keys of the providers by those of `config`, of the providers that are passed through now.

        What was cached with other keys is not found any more: a tenant may have lost the account that it was read from.
        """
        for name, settings in config.passed_through().items():
            if name in self.accounts:
                self.accounts[name].ring.replace(_upstream_keys(settings))
                self.fingerprints[name] = _fingerprint(settings)


def build_passthrough(
    config: Config,
    stack: AsyncExitStack,
    *,
    database: Database,
    cache: ResponseCache,
    leases: Leases,
    budgets: Budgets,
    log: FilteringBoundLogger,
    observation: Observation,
) -> Passthrough:
    """Build a backend for each provider that is passed through; `stack` closes their accounts.

    Raises StartError if a file of authorities cannot be used.
    """
    accounts = _build_accounts(config, stack, leases=leases, log=log, observation=observation)
    fingerprints = {name: _fingerprint(settings) for name, settings in config.passed_through().items()}
    known = Accounts({account.provider: account for account in accounts.values()})
    store, file_store = SqlStore(database), SqlFiles(database)
    backends: dict[Provider, Backend] = {}
    files: dict[Provider, FileBackend] = {}
    for name, settings in config.passed_through().items():
        provider, resumes, account = PROVIDERS[name], settings.honours_idempotency_keys, accounts[name]
        passthrough = PassthroughBackend(
            account,
            store=store,
            files=file_store,
            accounts=known,
            background=leases.background,
            budgets=budgets,
        )
        cached = CachedBackend(
            passthrough,
            cache,
            provider=provider,
            account=partial(fingerprints.__getitem__, name),
            default_ttl_seconds=settings.cache_seconds or config.cache.seconds,
            always=settings.cache_seconds is not None,
            now=leases.now,
            new_id=new_id,
        )
        backends[provider] = IdempotentBackend(cached, leases, resumes=resumes)
        passthrough_files = PassthroughFiles(account, store=file_store, accounts=known, background=leases.background)
        files[provider] = IdempotentFiles(passthrough_files, leases, resumes=resumes)
    return Passthrough(backends, files, known, accounts, fingerprints)


def _build_accounts(
    config: Config, stack: AsyncExitStack, *, leases: Leases, log: FilteringBoundLogger, observation: Observation
) -> dict[str, UpstreamAccount]:
    accounts: dict[str, UpstreamAccount] = {}
    authorities = provider_authorities(config)
    for name, settings in config.passed_through().items():
        upstream = _upstream_settings(settings, proxy=config.proxy_of(name), authorities=authorities.get(name))
        accounts[name] = UpstreamAccount(
            upstream,
            provider=PROVIDERS[name],
            now=leases.now,
            log=log,
            metrics=observation.metrics,
            tracer=observation.tracer,
        )
        stack.push_async_callback(accounts[name].close)
    return accounts


def _upstream_settings(settings: ProviderSettings, *, proxy: str | None, authorities: str | None) -> UpstreamSettings:
    return UpstreamSettings(
        base_url=settings.url(),
        dialect=DIALECTS[settings.backend],
        keys=_upstream_keys(settings),
        timeout_seconds=settings.timeout_seconds,
        max_retries=settings.max_retries,
        extra_headers={name: value.get_secret_value() for name, value in settings.extra_headers.items()},
        proxy=proxy,
        authorities=authorities,
        api_version=settings.api_version,
        forwards_unknown=settings.unknown_fields == "forward",
        opens_unknown=settings.unknown_containers == "shared",
    )


def _fingerprint(settings: ProviderSettings) -> str:
    """Return a digest of what decides which answers a tenant gets from a provider: its address and keys."""
    keys = [(key.name, key.value.get_secret_value(), key.tenant) for key in settings.keys or ()]
    headers = sorted((name, value.get_secret_value()) for name, value in settings.extra_headers.items())
    parts = settings.backend, settings.url(), settings.api_version, settings.unknown_containers, headers, keys
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()


def _upstream_keys(settings: ProviderSettings) -> tuple[UpstreamKey, ...]:
    return tuple(
        UpstreamKey(
            key.name,
            key.value.get_secret_value(),
            weight=key.weight,
            max_in_flight=key.max_in_flight,
            tenant=key.tenant,
        )
        for key in settings.keys or ()
    )
