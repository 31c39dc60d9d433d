"""What the commands that call a server have in common: the options that say where it is, and the connection.

Nothing goes unencrypted to another machine, and no key goes where it does not
belong: that of the data folder is for a Berth on this machine.
"""

import inspect
import ssl
import string
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, cast

import typer

from berth.client.connection import Connection, connected
from berth.client.endpoint import Endpoint, Server
from berth.client.errors import ClientError, KeyRequiredError, RefusedError
from berth.commands.items import explained
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.config import Config
from berth.core.providers import PROVIDERS
from berth.core.validation import did_you_mean
from berth.launch.kept_secrets import kept_key
from berth.launch.refusal import StartError
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

ProviderName = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="The provider, such as ollama.")]
ServerAddress = Annotated[
    str | None,
    typer.Option("--server", metavar="HOST:PORT", envvar="BERTH_SERVER", help="Where Berth is; else `listen.grpc`."),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="KEY", envvar="BERTH_KEY", help="The key to show; else that of the data folder, if it has one."
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", envvar="BERTH_CA", help="Speak TLS, and trust the authorities in this file."),
]
_VISIBLE = set(string.ascii_letters + string.digits + string.punctuation)

P = ParamSpec("P")


def remote(command: Callable[Concatenate[Connection, P], None]) -> Callable[..., None]:
    """Give a command, in the place of its connection, the options that lead to one."""

    def run(
        *arguments: Any,
        server: ServerAddress = None,
        key: Key = None,
        ca: Ca = None,
        config: ConfigFile = None,
        data_dir: DataDir = None,
        **options: Any,
    ) -> None:
        called = server_of(load_config(config, data_dir), server, key=key, ca=ca)
        with connected(called) as connection:
            try:
                command(connection, *arguments, **options)
            except UnicodeEncodeError as error:
                raise StartError("an argument is no UTF-8") from error
            except KeyRequiredError:
                raise ClientError(f"{called.endpoint} wants a key: give it with --key, or in BERTH_KEY") from None
            except RefusedError as error:
                raise ClientError(explained(error)) from None

    shared = [one for one in _parameters(run) if one.kind is inspect.Parameter.KEYWORD_ONLY]
    parameters = [*_parameters(command)[1:], *shared]
    wrapped: Any = wraps(command)(run)
    # What typer reads of a command: the parameters of both.
    wrapped.__signature__ = inspect.Signature(parameters)
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return cast("Callable[..., None]", wrapped)


def server_of(config: Config, address: str | None, *, key: str | None, ca: Path | None) -> Server:
    """Return the server that is called. StartError for what must not be, or cannot."""
    endpoint = _endpoint(config, address)
    trusted = ca or (config.tls.certificate if config.tls else None)
    if trusted is None and not endpoint.is_loopback:
        raise StartError(
            f"--server: {endpoint} is another machine, and nothing would be encrypted; "
            "say with --ca FILE which authorities to trust, and TLS is spoken"
        )
    is_ours = address is None or endpoint.is_loopback
    shown = _checked(key) if key else kept_key(config.data_dir) if is_ours else None
    return Server(endpoint, None if trusted is None else _authorities(trusted), shown)


def provider_of(name: str | None) -> Provider:
    """Return the provider of a short name; the unspecified one for None."""
    if name is None:
        return PROVIDER_UNSPECIFIED
    if name not in PROVIDERS:
        raise StartError(f"--provider: unknown provider '{name}'{did_you_mean(name, PROVIDERS, always=True)}")
    return PROVIDERS[name]


def _parameters(function: Callable[..., None]) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def _endpoint(config: Config, address: str | None) -> Endpoint:
    if address is None:
        listening = config.listen.grpc.to_call()
        if not listening.port:
            raise StartError("--server: it is needed where listen.grpc has the port 0")
        return Endpoint(*listening)
    try:
        return Endpoint.parse(address)
    except ValueError:
        raise StartError(f"--server: must be HOST:PORT, such as 127.0.0.1:50051, and is '{address}'") from None


def _checked(key: str) -> str:
    if set(key) <= _VISIBLE:
        return key
    raise StartError("--key: must be of visible ASCII characters, without spaces")


def _authorities(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise StartError(f"--ca: {path} holds no certificates in PEM") from error
    except OSError as error:
        raise StartError(f"--ca: cannot read {path}: {error.strerror}") from error
    return content
