"""Where settings come from: one YAML file, and above it the environment.

A variable is the setting's path in capitals behind `BERTH_`, its parts joined
by two underscores: BERTH_LISTEN__REST. Its value is text, or JSON where the
setting is a list or a map. An empty variable counts as not set.
"""

import re
from collections.abc import Hashable, Mapping
from json import JSONDecodeError, loads
from pathlib import Path

import yaml

from berth.launch.refusal import StartError

PREFIX = "BERTH_"
NO_SETTINGS = {"BERTH_CONFIG", "BERTH_SERVER", "BERTH_KEY", "BERTH_CA"}
"""Variables that are options of commands."""
_SEPARATOR = "__"
# Kubernetes tells every pod of a namespace where its services are; for one called "berth" in variables like these.
_SERVICE_LINK = re.compile(r"BERTH(_\w+)?_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")

Settings = dict[str, object]
SettingPath = tuple[str | int, ...]


class ConfigError(StartError):
    """The configuration cannot be used. One line for each problem, naming the setting."""


class _Loader(yaml.SafeLoader):
    """YAML without the surprise that the second of two equal keys wins."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:  # noqa: FBT001, FBT002 - PyYAML's
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.YAMLError(f"the setting '{name}' is there twice")
        return super().construct_mapping(node, deep)


def read_file(path: Path) -> Settings:
    """Read a YAML file; a setting that is null counts as not set. ConfigError if it is not there or not a map."""
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
    """Read the variables; return the settings, and which variable set which path."""
    settings: Settings = {}
    origins: dict[SettingPath, str] = {}
    for variable, text in sorted(environ.items()):
        if _is_setting(variable, text):
            path = variable.removeprefix(PREFIX).lower().split(_SEPARATOR)
            settings = merged(settings, _nested(path, _value(text)))
            origins[tuple(path)] = variable
    return settings, origins


def merged(below: Settings, above: Settings) -> Settings:
    """Return both, map by map; where they differ, `above` wins."""
    result = dict(below)
    for name, value in above.items():
        under = result.get(name)
        result[name] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return result


def _is_setting(variable: str, text: str) -> bool:
    is_ours = variable.startswith(PREFIX) and variable not in NO_SETTINGS
    return is_ours and bool(text) and not _is_service_link(variable, text)


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
