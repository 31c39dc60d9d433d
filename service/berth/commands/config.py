"""`berth config`: prints the schema of the settings and checks a configuration."""

from pathlib import Path

import orjson
import structlog
import typer

from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.terminal.printing import print_message
from berth.config.reference import schema as schema_of_settings

config = typer.Typer(help="Describe and check the configuration.", no_args_is_help=True)


@config.command()
def schema() -> None:
    """Print the JSON schema of the configuration file, for editors."""
    typer.echo(orjson.dumps(schema_of_settings(), option=orjson.OPT_INDENT_2).decode())


@config.command()
def check(*, config: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Read the configuration, and report all problems because of which a start or a reload would be refused."""
    from berth.app.authorities import check_authorities  # noqa: PLC0415 - loading it takes longer than other commands
    from berth.app.listeners import check_listeners  # noqa: PLC0415 - see above

    loaded = load_config(config, data_dir, purpose="check")
    check_listeners(loaded, rest=True, log=structlog.get_logger())
    check_authorities(loaded)
    print_message(f"{config or Path('the environment')}: every setting can be used")
