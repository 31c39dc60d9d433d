"""`berth keys`: creates, lists, rotates and revokes stored virtual keys, whether Berth is running or not.

A new key is printed alone on stdout and cannot be printed again. Each change is logged to stderr as an audit event.
"""

import asyncio
import getpass
import os
import secrets
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal, TypeVar

import structlog
import typer

from berth.adapters.sql.keys import SqlKeys
from berth.app.credentials import allowed_providers
from berth.app.stores.database import opened_database
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.terminal.moments import format_time, parse_duration, parse_time
from berth.commands.terminal.printing import print_json, print_table
from berth.config import Config
from berth.core.auth.credentials import VIRTUAL_KEY_PREFIX
from berth.core.auth.virtual_keys import KeyEntry, VirtualKey, digest_of
from berth.core.caller import Budget, Caller, Limits
from berth.core.providers import PROVIDERS, provider_name
from berth.core.usage.prices import NANO
from berth.core.validation import did_you_mean
from berth.launch.refusal import StartError
from berth.telemetry.logging import configure_logging
from berth.v1.provider_pb2 import Provider

T = TypeVar("T")
DIGITS = 48
MAX_BUDGET_USD = MAX_LIMIT = 1_000_000_000
_MAX_NAME = 256
_HEADINGS = (
    "NAME",
    "TENANT",
    "PROVIDERS",
    "REQUESTS/MIN",
    "IN FLIGHT",
    "BUDGET USD",
    "PER",
    "CREATED",
    "EXPIRES",
    "STATE",
)

keys = typer.Typer(help="Create, list, revoke and rotate virtual keys.", no_args_is_help=True)

Period = Literal["day", "month"]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")]


@keys.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="The key's name in lists and logs.")],
    tenant: Annotated[str, typer.Option(help="The tenant that the key belongs to.")],
    provider: Annotated[
        list[str] | None, typer.Option(help="A provider that the key may use; repeatable; by default all.")
    ] = None,
    requests_per_minute: Annotated[
        int | None, typer.Option(min=1, max=MAX_LIMIT, help="The largest number of calls per minute.")
    ] = None,
    max_in_flight: Annotated[
        int | None, typer.Option(min=1, max=MAX_LIMIT, help="The largest number of concurrent calls.")
    ] = None,
    budget_usd: Annotated[
        float | None, typer.Option(help="How much its containers may cost per period, in US dollars.")
    ] = None,
    budget_per: Annotated[Period, typer.Option(help="The period of the budget.")] = "month",
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When it expires: a time, or a duration such as 90d.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Create a key and print it, once."""
    loaded, now = load_config(config, data_dir), int(time.time())
    _require_name(name, "--name", loaded)
    _require_name(tenant, "--tenant")
    caller = Caller(
        tenant,
        name,
        _providers(provider),
        limits=Limits(requests_per_minute, max_in_flight),
        budget=_budget(budget_usd, budget_per),
    )
    key = VirtualKey(caller, expires_at=None if expires is None else parse_time(expires, now, option="--expires"))
    value = _new_value()
    _change(loaded, lambda stored: stored.add(key, digest_of(value), now=now), "key.created", name=name, tenant=tenant)
    typer.echo(value)


@keys.command("list")
def list_keys(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each key.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """List the stored keys, without their values, which are not stored."""
    entries = asyncio.run(_with_keys(load_config(config, data_dir), SqlKeys.entries))
    rows = [_row(entry, int(time.time())) for entry in entries]
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(
        [_HEADINGS, *(list(row.values()) for row in rows)], less_important=("IN FLIGHT", "CREATED", "PER", "BUDGET USD")
    )


@keys.command()
def revoke(name: Name, *, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Revoke a key permanently, within seconds."""
    now = int(time.time())
    _change(load_config(config, data_dir), lambda stored: stored.revoke(name, now=now), "key.revoked", name=name)


@keys.command()
def rotate(
    name: Name,
    *,
    overlap: Annotated[str, typer.Option(metavar="DURATION", help="How long the old value keeps working.")] = "24h",
    config: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Create a new value for a key and print it, once; the old value works for a while longer."""
    now, value = int(time.time()), _new_value()
    until = now + parse_duration(overlap, "--overlap")
    _change(
        load_config(config, data_dir),
        lambda stored: stored.rotate(name, digest_of(value), now=now, old_until=until),
        "key.rotated",
        name=name,
        old_until=until,
    )
    typer.echo(value)


def _change(config: Config, change: Callable[[SqlKeys], Awaitable[None]], event: str, **facts: Any) -> None:
    """Apply a change and log it as an audit event with the local user's name and `facts`, without secrets."""
    configure_logging(json=not sys.stderr.isatty())
    asyncio.run(_with_keys(config, change))
    structlog.get_logger().info(event, audit=True, who=_local_user(), **facts)


def _local_user() -> str:
    """Return the user's name; its number if it has no name, as in a container with an arbitrary user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


async def _with_keys(config: Config, work: Callable[[SqlKeys], Awaitable[T]]) -> T:
    """Do something with the configured key store; raise StartError for its errors."""
    async with opened_database(config) as database:
        return await work(SqlKeys(database))


def _require_name(value: str, option: str, config: Config | None = None) -> None:
    if not value or len(value) > _MAX_NAME or not value.isprintable():
        raise StartError(f"{option}: must be a text of 1 to {_MAX_NAME} printable characters")
    if config and value in {key.name for key in config.auth.virtual_keys}:
        raise StartError(f"{option}: there is a key '{value}' in the configuration already")


def _providers(names: list[str] | None) -> frozenset[Provider] | None:
    unknown = sorted(set(names or ()) - {*PROVIDERS, "*"})
    if unknown:
        hint = did_you_mean(unknown[0], PROVIDERS, always=True)
        raise StartError(f"--provider: unknown provider '{unknown[0]}'{hint}")
    return allowed_providers(names or ["*"])


def _budget(usd: float | None, period: Period) -> Budget | None:
    if usd is None:
        return None
    if not 0 < usd <= MAX_BUDGET_USD:
        raise StartError(f"--budget-usd: must be above 0 and at most {MAX_BUDGET_USD}")
    return Budget(round(usd * NANO), period)


def _new_value() -> str:
    return VIRTUAL_KEY_PREFIX + secrets.token_hex(DIGITS // 2)


def _row(entry: KeyEntry, now: int) -> dict[str, Any]:
    caller, limits, expires_at = entry.key.caller, entry.key.caller.limits, entry.key.expires_at
    expired = expires_at is not None and now >= expires_at
    return {
        "name": caller.name,
        "tenant": caller.tenant,
        "providers": ["*"] if caller.providers is None else sorted(map(provider_name, caller.providers)),
        "requests_per_minute": limits.requests_per_minute,
        "max_in_flight": limits.max_in_flight,
        "budget_usd": caller.budget.nano_usd / NANO if caller.budget else None,
        "budget_per": caller.budget.period if caller.budget else None,
        "created": format_time(entry.created_at),
        "expires": format_time(expires_at),
        "state": "revoked" if entry.revoked_at else "expired" if expired else "active",
    }
