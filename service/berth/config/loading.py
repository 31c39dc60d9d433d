"""Reads the configuration from the file, the environment and the command line; later sources override earlier ones."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from berth.config.model import Config
from berth.config.problems import describe_problems
from berth.config.sources import ConfigError, SettingPath, Settings, merge, read_environment, read_file
from berth.launch.address import Address


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    data_dir: Path | None = None,
    grpc_port: int | None = None,
    rest_port: int | None = None,
) -> Config:
    """Read the file at `path`, if given, and `environ`; the other arguments are options of the command line.

    Raises ConfigError, which lists all problems.
    """
    settings, origins = read_environment(environ)
    settings = merge(read_file(path) if path else {}, settings)
    if data_dir is not None:
        settings["data_dir"] = str(data_dir)
    config = _validate(settings, environ, origins)
    ports = {"grpc": grpc_port, "rest": rest_port}
    if all(port is None for port in ports.values()):
        return config
    # The option sets only the port; the host of the configured address is kept.
    listen: Settings = {
        name: str(Address(getattr(config.listen, name).host, port)) for name, port in ports.items() if port is not None
    }
    return _validate(merge(settings, {"listen": listen}), environ, {})


def _validate(settings: Settings, environ: Mapping[str, str], origins: Mapping[SettingPath, str]) -> Config:
    try:
        return Config.model_validate(settings, context=environ)
    except ValidationError as error:
        raise ConfigError("\n".join(describe_problems(error, model=Config, origins=origins))) from None
