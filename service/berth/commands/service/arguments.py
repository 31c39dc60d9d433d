"""`berth up`, `berth serve` and `berth envoy-config`: their arguments.

What they need is imported when they run: loading it takes longer than most commands, and their help, take.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from berth.commands.options import ConfigFile, DataDir, load_config
from berth.launch.address import MAX_PORT

MAX_WORKERS = 64

RestPort = Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="REST port; 0 picks a free one.")]
GrpcPort = Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="gRPC port; 0 picks a free one.")]
Banner = Annotated[bool, typer.Option("--banner", help="Print the banner even if stderr is not a terminal.")]
ShowKey = Annotated[bool, typer.Option("--show-key", help="Print the first key even if the output is not a terminal.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, max=MAX_WORKERS, help="How many processes serve, each on a core of its own.")
]


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
    _load_serving()(load, rest=True, show_banner=show_banner, show_key=show_key, workers=workers, replace=replace)


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
    load = partial(load_config, config, data_dir, grpc_port=grpc_port)
    _load_serving()(load, rest=False, show_banner=show_banner, show_key=show_key, workers=workers)


def _load_serving() -> Callable[..., None]:
    """Return `serve_until_stopped`."""
    # structlog would load rich, for tracebacks that Berth never prints: a fifteenth of each start.
    hidden: dict[str, Any] = dict.fromkeys({"rich.console", "rich.pretty"} - sys.modules.keys())
    sys.modules.update(hidden)
    from berth.commands.service.serving import serve_until_stopped  # noqa: PLC0415 - see above

    for name in hidden:
        del sys.modules[name]
    return serve_until_stopped


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
    from berth.commands.service.envoy import print_bootstrap, print_envoy_filter  # noqa: PLC0415 - see above

    loaded = load_config(config, data_dir)
    if istio:
        print_envoy_filter(loaded)
    else:
        print_bootstrap(loaded, secrets, service or (), admin_port)
