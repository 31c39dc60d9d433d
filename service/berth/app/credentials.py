"""Builds the credentials that callers are checked against, from the configuration and the stored keys."""

import time
from collections.abc import Callable, Iterable

from berth.adapters.sql.database import Database
from berth.adapters.sql.keys import SqlKeys
from berth.config import EVERY_PROVIDER, Config
from berth.config.auth import VirtualKey as VirtualKeySettings
from berth.core.auth.credentials import Credentials
from berth.core.auth.virtual_keys import RememberedKeys, VirtualKey
from berth.core.caller import NO_LIMITS, Budget, Caller, Limits
from berth.core.providers import PROVIDERS
from berth.core.usage.prices import NANO
from berth.launch.kept_secrets import TENANT, direct_secret
from berth.v1.provider_pb2 import Provider

Users = dict[tuple[str, str], Caller]


def build_credentials(
    config: Config, database: Database, *, first_key: str | None, now: Callable[[], int]
) -> Credentials:
    """Return the accepted credentials: configured callers, stored keys, the first key, or anonymous access.

    Anonymous access exists only with `auth.mode` 'none'.
    """
    keys, users = _configured_callers(config, first_key)
    return Credentials(
        virtual_keys=keys,
        basic_users=users,
        certificates=_certificates(config),
        now=now,
        stored=RememberedKeys(SqlKeys(database), now=now, timer=time.monotonic),
        direct_secret=_direct_secret(config),
        anonymous=Caller(tenant=TENANT, name="anonymous") if config.auth.mode == "none" else None,
    )


def replace_callers(credentials: Credentials, config: Config, first_key: str | None) -> None:
    """Replace the configured callers by those of `config`; `first_key` remains valid."""
    keys, users = _configured_callers(config, first_key)
    credentials.replace(virtual_keys=keys, basic_users=users, certificates=_certificates(config))


def allowed_providers(names: Iterable[str]) -> frozenset[Provider] | None:
    """Return the providers with these names; None, which means all, if `*` is one of them."""
    return None if EVERY_PROVIDER in names else frozenset(PROVIDERS[name] for name in names)


def _configured_callers(config: Config, first_key: str | None) -> tuple[dict[str, VirtualKey], Users]:
    keys = {settings.value.get_secret_value(): _virtual_key(settings) for settings in config.auth.virtual_keys}
    if first_key:
        keys[first_key] = VirtualKey(Caller(tenant=TENANT, name="first-key"))
    users = {
        (user.name, user.password.get_secret_value()): Caller(user.tenant, user.name, allowed_providers(user.providers))
        for user in config.auth.basic_users
    }
    return keys, users


def _certificates(config: Config) -> dict[str, Caller]:
    return {
        holder.san: Caller(holder.tenant, holder.name, allowed_providers(holder.providers))
        for holder in config.auth.certificates
    }


def _virtual_key(settings: VirtualKeySettings) -> VirtualKey:
    caller = Caller(
        settings.tenant,
        settings.name,
        allowed_providers(settings.providers),
        limits=_limits(settings),
        budget=_budget(settings),
    )
    expires = settings.expires
    return VirtualKey(caller, active=settings.active, expires_at=int(expires.timestamp()) if expires else None)


def _budget(settings: VirtualKeySettings) -> Budget | None:
    budget = settings.budget
    return None if budget is None else Budget(round(budget.usd * NANO), budget.per)


def _limits(settings: VirtualKeySettings) -> Limits:
    operations: dict[str, Limits] = {
        kind: Limits(limits.requests_per_minute, limits.max_in_flight) for kind, limits in settings.operations.items()
    }
    limits = Limits(settings.requests_per_minute, settings.max_in_flight, operations)
    return NO_LIMITS if limits == NO_LIMITS else limits


def _direct_secret(config: Config) -> bytes | None:
    """Return the secret that derives tenants from callers' own provider keys.

    It is the configured one, which several replicas share, or the one in the data folder.
    """
    if not config.auth.allow_direct_keys or not config.passed_through():
        return None
    configured = config.auth.direct_key_secret
    return (configured.get_secret_value() if configured else direct_secret(config.data_dir)).encode()
