"""The command line: reads the arguments, runs the command, and chooses the exit code.

Exit codes: 0 for success, including a stop by a signal; 1 if something failed or the server rejected the request; 2 if
the arguments or the configuration cannot be used. Output for programs goes to stdout, everything else to stderr.
"""

import signal
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module, metadata
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from berth import DISTRIBUTION
from berth.client.errors import ClientError
from berth.commands.terminal.printing import print_message
from berth.launch.process.early import raise_at_ctrl_c
from berth.launch.process.ending import end, end_at_once
from berth.launch.refusal import ProcessEndedError, StartError

FAILED = 1
REFUSED = 2
INTERRUPTED = frozenset(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
"""The exit codes after these signals."""
_PLACES = {
    "up": "service.arguments:up",
    "serve": "service.arguments:serve",
    "envoy-config": "service.arguments:envoy_config",
    "config": "config:config",
    "containers": "containers:containers",
    "files": "files:files",
    "exec": "execs:execute",
    "keys": "keys:keys",
    "usage": "usage:usage",
    "doctor": "doctor:doctor",
    "backup": "stores.backups:backup",
    "restore": "stores.backups:restore",
    "store": "stores.store:store",
    "runtime": "runtime:runtime",
    "protos": "protos:protos",
}
"""Where in `berth.commands` each command is."""


class _Commands(Mapping[str, Any]):
    """The commands by name. A module is imported when its command is asked for: to load all takes longer than most run.

    The help and the completion of names ask for all of them.
    """

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = _PLACES[name].partition(":")
        found = getattr(import_module(f"berth.commands.{module}"), attribute)
        raise_at_ctrl_c()
        if isinstance(found, typer.Typer):
            command: Any = get_group(found)
        else:
            alone = typer.Typer(add_completion=False)
            alone.command(name)(found)
            command = get_command(alone)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_PLACES)

    def __len__(self) -> int:
        return len(_PLACES)


class _Group(TyperGroup):
    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment] # none is added


commands = typer.Typer(
    cls=_Group,
    help="The Containers API for every AI provider, as gRPC and as REST.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(is_asked: bool) -> None:  # noqa: FBT001 - a callback for typer
    if is_asked:
        typer.echo(f"berth {metadata.version(DISTRIBUTION)}")
        raise typer.Exit


@commands.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Serve the Containers API for every AI provider over gRPC and REST, or call it."""


def main() -> None:
    """Run the command that the arguments select."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # A name may contain characters that the terminal's encoding lacks.
            stream.reconfigure(errors="backslashreplace")
    try:
        commands()
    except StartError as error:
        _exit_with(str(error), REFUSED)
    except (ClientError, ProcessEndedError) as error:
        _exit_with(str(error), FAILED)
    except SystemExit as ending:
        if not isinstance(ending.code, int):
            raise
        if ending.code in INTERRUPTED:
            end_at_once(ending.code)  # what gRPC's threads do while the interpreter ends could print errors
        end(ending.code)


def _exit_with(message: str, status: int) -> NoReturn:
    print_message(message)
    end(status)
