"""Reads the configuration from the file, the environment and the command line; later sources override earlier ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from berth.config.files import SecretSources
from berth.config.model import Config
from berth.config.problems import describe_problems
from berth.config.sources import ConfigError, SettingPath, Settings, merge, read_environment
from berth.config.yaml_file import read_settings
from berth.launch.address import Address

Purpose = Literal["start", "check", "reload"]
"""What a configuration is read for. A check refuses a file that ends in the middle of a value and may be cut. A reload
refuses pipes and devices as well, because reading them may wait forever."""


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    data_dir: Path | None = None,
    grpc_port: int | None = None,
    rest_port: int | None = None,
    purpose: Purpose = "start",
) -> Config:
    """Read the file at `path`, if given, and `environ`; ports and folder are options of the command line.

    Raises ConfigError, which lists all problems.
    """
    settings, origins = read_environment(environ)
    only_regular = purpose == "reload"
    secrets = SecretSources(environ, only_regular=only_regular)
    if path:
        settings = merge(read_settings(path, only_regular=only_regular, require_end=purpose != "start"), settings)
    if data_dir is not None:
        settings["data_dir"] = str(data_dir)
    config = _validate(settings, secrets, origins)
    ports = {"grpc": grpc_port, "rest": rest_port}
    if all(port is None for port in ports.values()):
        return config
    # The option sets only the port; the host of the configured address is kept.
    listen: Settings = {
        name: str(Address(getattr(config.listen, name).host, port)) for name, port in ports.items() if port is not None
    }
    return _validate(merge(settings, {"listen": listen}), secrets, {})


def _validate(settings: Settings, secrets: SecretSources, origins: Mapping[SettingPath, str]) -> Config:
    try:
        return Config.model_validate(settings, context=secrets)
    except ValidationError as error:
        raise ConfigError(_described(error, origins)) from None


def _described(error: ValidationError, origins: Mapping[SettingPath, str]) -> str:
    try:
        return "\n".join(describe_problems(error, model=Config, origins=origins))
    except UnicodeEncodeError:
        return "the name of a setting is not text: it has half of a surrogate pair"
