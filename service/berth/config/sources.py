"""Reads settings from the environment, and merges them with those of other sources.

The variable of a setting is `BERTH_` and the setting's path in capitals, joined by two underscores: BERTH_LISTEN__REST.
Its value is text, or JSON if the setting is a list or a map. An empty variable counts as not set.
"""

import re
from collections import Counter
from collections.abc import Mapping
from json import loads

from berth.launch.refusal import StartError

PREFIX = "BERTH_"
OPTION_VARIABLES = {"BERTH_CONFIG", "BERTH_SERVER", "BERTH_KEY", "BERTH_CA", "BERTH_ENVOY"}
"""Variables that set options of commands, or choose the Envoy binary, and are no settings."""
MAX_DEPTH = 32
"""How deep lists and maps may be nested; the settings need eight levels."""
SEPARATOR = "__"
# Kubernetes sets such variables in every pod of a namespace that has a service named "berth".
_SERVICE_LINK = re.compile(r"BERTH(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_JSON_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"

Settings = dict[str, object]
SettingPath = tuple[str | int, ...]


class ConfigError(StartError):
    """The configuration is invalid. The message has one line for each problem, which names the setting."""


class _NotUsableError(Exception):
    """The value of a variable cannot be used; the message follows the name of the setting."""


def read_environment(environ: Mapping[str, str]) -> tuple[Settings, dict[SettingPath, str]]:
    """Return the settings in the environment, and the variable that set each path.

    Raises ConfigError if a value is nested too deeply, or has a name twice in one map.
    """
    settings: Settings = {}
    origins: dict[SettingPath, str] = {}
    for variable, text in sorted(environ.items()):
        if _is_setting(variable, text):
            path = variable.removeprefix(PREFIX).lower().split(SEPARATOR)
            try:
                settings = merge(settings, _nested(path, _value(text)))
            except _NotUsableError as error:
                raise ConfigError(f"{'.'.join(path)} (from {variable}): {error}") from None
            origins[tuple(path)] = variable
    return settings, origins


def merge(below: Settings, above: Settings) -> Settings:
    """Merge two nested maps; values of `above` override values of `below`."""
    result = dict(below)
    for name, value in above.items():
        previous = result.get(name)
        result[name] = merge(previous, value) if isinstance(previous, dict) and isinstance(value, dict) else value
    return result


def _is_setting(variable: str, text: str) -> bool:
    is_candidate = variable.startswith(PREFIX) and variable not in OPTION_VARIABLES
    return is_candidate and bool(text) and not _is_service_link(variable, text)


def _is_service_link(variable: str, text: str) -> bool:
    return bool(_SERVICE_LINK.fullmatch(variable)) or (variable.endswith("_PORT") and "://" in text)


def _nested(path: list[str], value: object) -> Settings:
    if len(path) > MAX_DEPTH:
        raise _NotUsableError(_TOO_DEEP)
    for part in reversed(path[1:]):
        value = {part: value}
    return {path[0]: value}


def _value(text: str) -> object:
    """Return the value of a variable: JSON if it is a list or a map, otherwise text."""
    if not text.lstrip().startswith(("[", "{")):
        return text
    if _depth(text) > MAX_DEPTH:
        raise _NotUsableError(_TOO_DEEP)
    try:
        return loads(text, object_pairs_hook=_unique)
    except ValueError:
        return text


def _depth(text: str) -> int:
    """Return how deep brackets are nested outside of strings."""
    depth = deepest = 0
    for bracket in _JSON_BRACKETS.findall(text):
        depth += (bracket in "[{") - (bracket in "]}")
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: list[tuple[str, object]]) -> Settings:
    repeated = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    if repeated:
        raise _NotUsableError(f"the setting '{repeated[0]}' is given twice")
    return dict(pairs)
