"""The command line: reads the arguments, runs the command, and chooses the exit code.

Exit codes: 0 for success, including a stop by a signal; 1 if something failed or the server rejected the request; 2 if
the arguments or the configuration cannot be used. Output for programs goes to stdout, everything else to stderr.

Modules that are needed only for serving are imported inside the commands that use them, because loading them takes
longer than most other commands run.
"""

import signal
import sys
from functools import partial
from importlib import metadata
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from berth import DISTRIBUTION
from berth.client.errors import ClientError
from berth.commands.config import config
from berth.commands.containers import containers
from berth.commands.doctor import doctor
from berth.commands.execs import execute
from berth.commands.files import files
from berth.commands.keys import keys
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.protos import protos
from berth.commands.runtime import runtime
from berth.commands.stores.backups import backup, restore
from berth.commands.stores.store import store
from berth.commands.terminal.printing import print_message
from berth.commands.usage import usage
from berth.launch.address import MAX_PORT
from berth.launch.envoy.supervisor import EnvoyEndedError
from berth.launch.process.ending import end, end_at_once
from berth.launch.refusal import StartError
from berth.launch.workers.process import WorkerEndedError

FAILED = 1
MAX_WORKERS = 64
REFUSED = 2
INTERRUPTED = frozenset(128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
"""The exit codes after these signals."""

commands = typer.Typer(
    help="The Containers API for every AI provider, as gRPC and as REST.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

commands.add_typer(config, name="config")
commands.add_typer(containers, name="containers")
commands.add_typer(files, name="files")
commands.add_typer(keys, name="keys")
commands.add_typer(store, name="store")
commands.add_typer(runtime, name="runtime")


commands.command()(backup)
commands.command()(restore)
commands.command()(doctor)
commands.command()(protos)
commands.command("exec")(execute)
commands.command()(usage)


def _show_version(is_asked: bool) -> None:  # noqa: FBT001 - a callback for typer
    if is_asked:
        typer.echo(f"berth {metadata.version(DISTRIBUTION)}")
        raise typer.Exit


RestPort = Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="REST port; 0 picks a free one.")]
GrpcPort = Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="gRPC port; 0 picks a free one.")]
Banner = Annotated[bool, typer.Option("--banner", help="Print the banner even if stderr is not a terminal.")]
ShowKey = Annotated[bool, typer.Option("--show-key", help="Print the first key even if the output is not a terminal.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=MAX_WORKERS, help="How many processes serve, each on a core of its own.")
]


@commands.command()
def up(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    rest_port: RestPort = None,
    grpc_port: GrpcPort = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take over from the Berth that uses the same data folder, without a gap.")
    ] = False,
    workers: Workers = 1,
    show_banner: Banner = False,
    show_key: ShowKey = False,
) -> None:
    """Serve gRPC, and REST through an Envoy that it starts, in the foreground."""
    load = partial(load_config, config, data_dir, rest_port=rest_port, grpc_port=grpc_port)
    from berth.commands.serving import serve_until_stopped  # noqa: PLC0415 - see above

    serve_until_stopped(load, rest=True, show_banner=show_banner, show_key=show_key, workers=workers, replace=replace)


@commands.command()
def serve(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    grpc_port: GrpcPort = None,
    workers: Workers = 1,
    show_banner: Banner = False,
    show_key: ShowKey = False,
) -> None:
    """Serve only gRPC, in the foreground, for sidecars and Kubernetes."""
    from berth.commands.serving import serve_until_stopped  # noqa: PLC0415 - see above

    load = partial(load_config, config, data_dir, grpc_port=grpc_port)
    serve_until_stopped(load, rest=False, show_banner=show_banner, show_key=show_key, workers=workers)


@commands.command()
def envoy_config(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    istio: Annotated[bool, typer.Option("--istio", help="Print an Istio EnvoyFilter instead.")] = False,
    secrets: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where to write the files with which Envoy uses renewed certificates without a restart.",
        ),
    ] = None,
    service: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Where Envoy finds the service, if not at listen.grpc: a replica, or a name of several; repeatable.",
        ),
    ] = None,
    admin_port: Annotated[
        int, typer.Option(min=0, max=MAX_PORT, help="Port of Envoy's admin interface; 0 picks a free one.")
    ] = 0,
) -> None:
    """Print the Envoy bootstrap for these settings, as YAML."""
    from berth.commands.envoy import print_bootstrap, print_envoy_filter  # noqa: PLC0415 - see above

    loaded = load_config(config, data_dir)
    if istio:
        print_envoy_filter(loaded)
    else:
        print_bootstrap(loaded, secrets, service or (), admin_port)


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
    except (ClientError, EnvoyEndedError, WorkerEndedError) as error:
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
