"""Reads settings from the YAML file and from the environment.

The variable of a setting is `BERTH_` and the setting's path in capitals, joined by two underscores: BERTH_LISTEN__REST.
Its value is text, or JSON if the setting is a list or a map. An empty variable counts as not set.
"""

import re
from collections.abc import Hashable, Mapping
from json import JSONDecodeError, loads
from pathlib import Path

import yaml

from berth.launch.refusal import StartError

PREFIX = "BERTH_"
OPTION_VARIABLES = {"BERTH_CONFIG", "BERTH_SERVER", "BERTH_KEY", "BERTH_CA", "BERTH_ENVOY"}
"""Variables that set options of commands, or choose the Envoy binary, and are no settings."""
_SEPARATOR = "__"
# Kubernetes sets such variables in every pod of a namespace that has a service named "berth".
_SERVICE_LINK = re.compile(r"BERTH(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")

Settings = dict[str, object]
SettingPath = tuple[str | int, ...]


class ConfigError(StartError):
    """The configuration is invalid. The message has one line for each problem, which names the setting."""


class _Loader(yaml.SafeLoader):
    """A YAML loader that rejects repeated keys, of which PyYAML would use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - PyYAML's
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"the setting '{name}' is given twice")
        return super().construct_mapping(node, deep)


def read_file(path: Path) -> Settings:
    """Read a YAML file; raise ConfigError if it cannot be read or is not a map. A null setting counts as not set."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"the configuration file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise ConfigError(f"the configuration file {path} is not a map of settings")
    return {str(name): value for name, value in (content or {}).items() if value is not None}


def read_environment(environ: Mapping[str, str]) -> tuple[Settings, dict[SettingPath, str]]:
    """Return the settings in the environment, and the variable that set each path."""
    settings: Settings = {}
    origins: dict[SettingPath, str] = {}
    for variable, text in sorted(environ.items()):
        if _is_setting(variable, text):
            path = variable.removeprefix(PREFIX).lower().split(_SEPARATOR)
            settings = merge(settings, _nested(path, _value(text)))
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
    for part in reversed(path[1:]):
        value = {part: value}
    return {path[0]: value}


def _value(text: str) -> object:
    if not text.lstrip().startswith(("[", "{")):
        return text
    try:
        return loads(text)
    except JSONDecodeError:
        return text
