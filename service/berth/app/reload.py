"""Reads the configuration again on SIGHUP, and applies its callers and its keys at providers: all of them, or none."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from threading import Thread
from typing import NamedTuple, TypeVar

from pydantic import BaseModel
from structlog.typing import FilteringBoundLogger

from berth.app.authorities import check_authorities
from berth.app.listeners import check_listeners
from berth.config import Config, ConfigError
from berth.config.providers import ProviderSettings
from berth.launch.refusal import StartError

_NAMES = {"virtual_keys": "name", "basic_users": "name", "certificates": "san"}
"""The settings of `auth` that a reload applies, and which of their settings tells one entry from another."""

T = TypeVar("T")


class Changes(NamedTuple):
    """How the callers and keys of two configurations differ: `virtual_keys.NAME`, `providers.openai.keys.NAME`."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class Reloader:
    """Replaces the configured callers and keys at providers by those that `load` returns, when it is asked to.

    A configuration with which Berth could not start, or without any caller, changes nothing, and a warning is logged.
    """

    def __init__(
        self,
        config: Config,
        apply: Callable[[Config], Awaitable[None]],
        load: Callable[[], Config],
        *,
        rest: bool,
        log: FilteringBoundLogger,
    ) -> None:
        """`config` is the configuration of the start; `apply` has the service use the callers and keys of another."""
        self._started = config
        self._current = config
        self._applied = dict(config.passed_through())
        self._apply_in_service = apply
        self._load = load
        self._rest = rest
        self._log = log
        self._requested = asyncio.Event()

    def request(self) -> None:
        """Ask for a reload; requests during a reload become one."""
        self._requested.set()

    async def serve(self) -> None:
        """Reload whenever it is requested, until cancelled."""
        while True:
            await self._requested.wait()
            self._requested.clear()
            await self._reload()

    async def _reload(self) -> None:
        try:
            await self._apply(await _in_own_thread(self._read))
        except StartError as error:
            self._log.warning("auth.reload_failed", problems=str(error).splitlines())
        except Exception as error:  # noqa: BLE001 - a later reload must be possible
            reason = f"an unexpected {type(error).__name__}"
            self._log.warning("auth.reload_failed", problems=[reason], exc_info=True)

    def _read(self) -> Config:
        """Return the current configuration; StartError if it must not be applied."""
        config = self._load()
        check_listeners(config, rest=self._rest, log=self._log)
        check_authorities(config)
        if self._current.has_callers() and not config.has_callers():
            raise ConfigError("auth: the configuration has no caller any more; restart Berth to remove all callers")
        return config

    async def _apply(self, config: Config) -> None:
        await self._apply_in_service(config)
        passed = config.passed_through()
        applied = {name: passed.get(name, settings) for name, settings in self._applied.items()}
        changes = _compare(_entries(self._current, self._applied), _entries(config, applied))
        self._current, self._applied = config, applied
        auth = config.auth
        counts = {name: len(getattr(auth, name)) for name in _NAMES}
        self._log.info("auth.reloaded", **counts, **changes._asdict(), needs_restart=_unapplied(self._started, config))


def _compare(before: Mapping[str, BaseModel], after: Mapping[str, BaseModel]) -> Changes:
    """Return the names of the callers and keys that differ, and no values."""
    return Changes(
        added=[name for name in after if name not in before],
        removed=[name for name in before if name not in after],
        changed=[name for name, entry in after.items() if name in before and before[name] != entry],
    )


def _entries(config: Config, providers: Mapping[str, ProviderSettings]) -> dict[str, BaseModel]:
    """Return the callers of `config` and the keys of `providers`, by name."""
    callers: dict[str, BaseModel] = {
        f"{setting}.{getattr(entry, name)}": entry
        for setting, name in _NAMES.items()
        for entry in getattr(config.auth, setting)
    }
    keys = {
        f"providers.{name}.keys.{key.name}": key for name, settings in providers.items() for key in settings.keys or ()
    }
    return callers | keys


def _unapplied(started: Config, config: Config) -> list[str]:
    """Return the settings that differ from those of the start, and that a reload does not apply."""
    sections = [name for name in Config.model_fields if name not in {"auth", "providers"}]
    differing = [name for name in sections if getattr(started, name) != getattr(config, name)]
    if _without_keys(started) != _without_keys(config):
        differing.append("providers")
    auth = [name for name in type(config.auth).model_fields if name not in _NAMES]
    return differing + [f"auth.{name}" for name in auth if getattr(started.auth, name) != getattr(config.auth, name)]


def _without_keys(config: Config) -> dict[str, ProviderSettings]:
    return {name: settings.model_copy(update={"keys": None}) for name, settings in config.providers.items()}


async def _in_own_thread(call: Callable[[], T]) -> T:
    """Return the result of `call`. A shutdown does not wait for the thread, which may hang on a network's disk."""
    result: Future[T] = Future()
    result.set_running_or_notify_cancel()

    def run() -> None:
        try:
            result.set_result(call())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            result.set_exception(error)

    Thread(target=run, name="reload", daemon=True).start()
    return await asyncio.wrap_future(result)
