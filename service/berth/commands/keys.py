"""`berth keys`: creates, lists, rotates and revokes stored virtual keys, whether Berth is running or not.

A new key is printed alone on stdout and cannot be printed again. Each change is logged to stderr as an audit event.
"""

import asyncio
import getpass
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import structlog
import typer

from berth.adapters.sql.database import SqlDatabase
from berth.adapters.sql.keys import SqlKeys
from berth.app.credentials import allowed_providers
from berth.commands.moments import format_time, parse_duration, parse_time
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.printing import print_json, print_table
from berth.config import Config
from berth.core.auth.credentials import VIRTUAL_KEY_PREFIX
from berth.core.auth.virtual_keys import KeyEntry, VirtualKey, digest_of
from berth.core.caller import Caller, Limits
from berth.core.errors import BerthError
from berth.core.providers import PROVIDERS, provider_name
from berth.core.validation import did_you_mean
from berth.launch.refusal import StartError
from berth.telemetry.logging import configure_logging
from berth.v1.provider_pb2 import Provider

DIGITS = 48
_MAX_NAME = 256
_HEADINGS = ("NAME", "TENANT", "PROVIDERS", "REQUESTS/MIN", "IN FLIGHT", "CREATED", "EXPIRES", "STATE")

keys = typer.Typer(help="Create, list, revoke and rotate virtual keys.", no_args_is_help=True)

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
        int | None, typer.Option(min=1, help="The largest number of calls per minute.")
    ] = None,
    max_in_flight: Annotated[int | None, typer.Option(min=1, help="The largest number of concurrent calls.")] = None,
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
    caller = Caller(tenant, name, _providers(provider), limits=Limits(requests_per_minute, max_in_flight))
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
    with _open_keys(load_config(config, data_dir)) as stored:
        rows = [_row(entry, int(time.time())) for entry in asyncio.run(_entries(stored))]
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table([_HEADINGS, *(list(row.values()) for row in rows)], less_important=("MAX IN FLIGHT", "CREATED"))


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


async def _entries(stored: SqlKeys) -> Sequence[KeyEntry]:
    return await stored.entries()


def _change(config: Config, change: Callable[[SqlKeys], Awaitable[None]], event: str, **facts: Any) -> None:
    """Apply a change and log it as an audit event with the local user's name and `facts`, without secrets."""
    configure_logging(json=not sys.stderr.isatty())

    async def run(stored: SqlKeys) -> None:
        await change(stored)

    with _open_keys(config) as stored:
        asyncio.run(run(stored))
    structlog.get_logger().info(event, audit=True, who=getpass.getuser(), **facts)


@contextmanager
def _open_keys(config: Config) -> Iterator[SqlKeys]:
    """Open the configured key store; raise StartError for its errors."""
    config.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        database = SqlDatabase.open(config.store_url())
        try:
            yield SqlKeys(database)
        finally:
            database.close()
    except BerthError as error:
        raise StartError(error.message) from error


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
        "created": format_time(entry.created_at),
        "expires": format_time(expires_at),
        "state": "revoked" if entry.revoked_at else "expired" if expired else "active",
    }
