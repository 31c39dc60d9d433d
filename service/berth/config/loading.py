"""Reading the configuration: file, environment and arguments, the later above the earlier."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from berth.config.model import Config
from berth.config.problems import sentences
from berth.config.sources import ConfigError, SettingPath, Settings, merged, read_environment, read_file
from berth.launch.address import Address


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    data_dir: Path | None = None,
    grpc_port: int | None = None,
    rest_port: int | None = None,
) -> Config:
    """Read `path`, if there is one, and `environ`; the other arguments come from the command line.

    ConfigError with all problems at once.
    """
    settings, origins = read_environment(environ)
    settings = merged(read_file(path) if path else {}, settings)
    if data_dir is not None:
        settings["data_dir"] = str(data_dir)
    config = _validated(settings, environ, origins)
    ports = {"grpc": grpc_port, "rest": rest_port}
    if all(port is None for port in ports.values()):
        return config
    # A port alone has no host: that of the configured address stays.
    listen: Settings = {
        name: str(Address(getattr(config.listen, name).host, port)) for name, port in ports.items() if port is not None
    }
    return _validated(merged(settings, {"listen": listen}), environ, {})


def _validated(settings: Settings, environ: Mapping[str, str], origins: Mapping[SettingPath, str]) -> Config:
    try:
        return Config.model_validate(settings, context=environ)
    except ValidationError as error:
        raise ConfigError("\n".join(sentences(error, model=Config, origins=origins))) from None
