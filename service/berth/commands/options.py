"""The options that select the configuration, shared by most commands."""

import os
from pathlib import Path
from typing import Annotated

import typer

from berth.config import Config, Purpose, load

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", envvar="BERTH_CONFIG", help="The YAML file with the settings."),
]
DataDir = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="The folder for Berth's data; overrides `data_dir`.")
]


def load_config(
    config: Path | None,
    data_dir: Path | None,
    *,
    rest_port: int | None = None,
    grpc_port: int | None = None,
    purpose: Purpose = "start",
) -> Config:
    """Read the configuration; arguments of the command line override it.

    Raises ConfigError, which lists all problems.
    """
    return load(config, os.environ, data_dir=data_dir, rest_port=rest_port, grpc_port=grpc_port, purpose=purpose)
