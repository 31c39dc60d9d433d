"""`berth config`: prints the schema of the settings and checks a configuration."""

from pathlib import Path

import orjson
import typer

from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.printing import print_message
from berth.config.reference import schema as schema_of_settings

config = typer.Typer(help="Describe and check the configuration.", no_args_is_help=True)


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors."""
    typer.echo(orjson.dumps(schema_of_settings(), option=orjson.OPT_INDENT_2).decode())


@config.command()
def check(*, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Read the configuration as `up` and `serve` do, and report all problems."""
    load_config(config, data_dir)
    print_message(f"{config or Path('the environment')}: every setting can be used")
