"""The commands: read the arguments, run the app, choose the exit code.

0 after a stop that was asked for, 1 where something broke or a server said no,
2 where Berth refuses to start. On stdout stands what programs read, on stderr all else.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from berth.app import Ready, run
from berth.client.errors import ClientError
from berth.commands.containers import containers
from berth.commands.files import files
from berth.commands.keys import keys
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.commands.printing import tell
from berth.config import Config
from berth.launch.address import MAX_PORT
from berth.launch.banner import banner
from berth.launch.envoy_process import EnvoyEndedError
from berth.launch.refusal import StartError
from berth.listeners import edge_settings
from berth.rest.envoy import bootstrap, envoy_filter, to_yaml
from berth.telemetry import configure_logging

BROKEN = 1
REFUSED = 2

commands = typer.Typer(
    help="The Containers API for every AI provider, as gRPC and as REST.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

commands.add_typer(containers, name="containers")
commands.add_typer(files, name="files")
commands.add_typer(keys, name="keys")

RestPort = Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="REST port; 0 picks a free one.")]
GrpcPort = Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="gRPC port; 0 picks a free one.")]
Banner = Annotated[bool, typer.Option("--banner", help="Print the banner also where stderr is no terminal.")]


@commands.command()
def up(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    rest_port: RestPort = None,
    grpc_port: GrpcPort = None,
    show_banner: Banner = False,
) -> None:
    """Serve gRPC, and REST through an Envoy of its own, in the foreground."""
    load = partial(load_config, config, data_dir, rest_port=rest_port, grpc_port=grpc_port)
    _serve(load, rest=True, show_banner=show_banner)


@commands.command()
def serve(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    grpc_port: GrpcPort = None,
    show_banner: Banner = False,
) -> None:
    """Serve gRPC alone, in the foreground: for sidecars and Kubernetes."""
    _serve(partial(load_config, config, data_dir, grpc_port=grpc_port), rest=False, show_banner=show_banner)


@commands.command()
def envoy_config(
    *,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    istio: Annotated[bool, typer.Option("--istio", help="Print an Istio EnvoyFilter instead.")] = False,
) -> None:
    """Print the Envoy bootstrap for these settings, as YAML."""
    loaded = load_config(config, data_dir)
    settings = edge_settings(loaded, loaded.listen.grpc)
    document = envoy_filter(settings) if istio else bootstrap(settings)
    typer.echo(to_yaml(document), nl=False)


def main() -> None:
    """Run the command that the arguments name."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may have letters that a terminal has not
    try:
        commands()
    except StartError as error:
        _leave(str(error), REFUSED)
    except (ClientError, EnvoyEndedError) as error:
        _leave(str(error), BROKEN)


def _serve(load: Callable[[], Config], *, rest: bool, show_banner: bool) -> None:
    config = load()
    for_people = sys.stderr.isatty()
    configure_logging(json=not for_people)

    def announce(ready: Ready) -> None:
        if show_banner or for_people:
            sys.stderr.write(_banner(ready, config))
            sys.stderr.flush()
        print(_ready_line(ready), flush=True)  # noqa: T201 - what programs wait for

    serving = run(config, rest=rest, json_log=not for_people, reload=load, announce=announce)
    asyncio.run(_until_signalled(serving))


async def _until_signalled(serving: Coroutine[Any, Any, None]) -> None:
    """Run `serving` until SIGTERM or SIGINT, which let it finish what runs; the second one ends the process at once."""
    task = asyncio.create_task(serving)

    def stop() -> None:
        if task.cancelling():
            os._exit(BROKEN)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelling():
            raise


def _ready_line(ready: Ready) -> str:
    line = {"event": "ready"}
    if ready.rest_url:
        line["rest"] = ready.rest_url
    line["grpc"] = str(ready.grpc)
    if ready.metrics:
        line["metrics"] = f"http://{ready.metrics}/metrics"
    if ready.virtual_key:
        line["virtual_key"] = ready.virtual_key
    return json.dumps(line, separators=(",", ":"))


def _banner(ready: Ready, config: Config) -> str:
    return banner(
        grpc=str(ready.grpc),
        rest=ready.rest_url,
        virtual_key=ready.virtual_key,
        is_open=config.auth.mode == "none",
    )


def _leave(message: str, status: int) -> NoReturn:
    tell(message)
    sys.exit(status)
