"""`berth envoy-config`: prints the configuration of an Envoy that is deployed on its own."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from berth.app.listeners import edge_settings, header_variable
from berth.client.endpoint import Endpoint
from berth.client.errors import LocalFileError
from berth.commands.terminal.printing import print_message
from berth.config import Config
from berth.rest.envoy.bootstrap import bootstrap, envoy_filter, to_yaml
from berth.rest.envoy.edge import Tls
from berth.rest.envoy.secrets import referring_secrets

_NOT_RENEWED = "this Envoy has to be restarted to use a renewed certificate; with --secrets FOLDER it does not"


def print_envoy_filter(config: Config) -> None:
    """Print the EnvoyFilter for the sidecar of a mesh."""
    typer.echo(to_yaml(envoy_filter(edge_settings(config, config.listen.grpc))), nl=False)


def print_bootstrap(config: Config, secrets: Path | None, services: Sequence[str], admin_port: int) -> None:
    """Print the bootstrap; with TLS, write the files with which Envoy finds certificates to the folder `secrets`.

    `services` are the HOST:PORT of the replicas of the service, if it is not at `listen.grpc`. An `admin_port` of 0 is
    a free one.
    """
    settings = edge_settings(config, config.listen.grpc, secrets=secrets)
    settings = replace(settings, admin_port=admin_port, services=tuple(map(_parse_service, services)))
    if settings.tls and secrets:
        _write_secrets(settings.tls, secrets)
    elif settings.tls:
        print_message(_NOT_RENEWED)
    if config.telemetry.headers:
        variables = ", ".join(map(header_variable, config.telemetry.headers))
        print_message(f"this Envoy reads the headers for the collector of traces from its environment: {variables}")
    typer.echo(to_yaml(bootstrap(settings)), nl=False)


def _parse_service(text: str) -> Endpoint:
    try:
        return Endpoint.parse(text)
    except ValueError:
        reason = f"must be a host and a port, such as berth.example.com:50051, not '{text}'"
        raise typer.BadParameter(reason, param_hint="--service") from None


def _write_secrets(tls: Tls, folder: Path) -> None:
    for name, content in referring_secrets(tls).items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise LocalFileError(f"{folder / name}: {error.strerror}") from error
