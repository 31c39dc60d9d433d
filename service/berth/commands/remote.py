"""The options and the connection of the commands that call a server.

Connections to other machines are always encrypted, and the key of the data folder is sent only to the configured
address or to this machine.
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
from berth.client.errors import ClientError, KeyRefusedError, KeyRequiredError, RefusedError
from berth.commands.items import explain
from berth.commands.options import ConfigFile, DataDir, load_config
from berth.config import Config
from berth.core.providers import PROVIDERS
from berth.core.validation import did_you_mean
from berth.launch.kept_secrets import read_first_key
from berth.launch.refusal import StartError
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

ProviderName = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="The provider, such as ollama.")]
ServerAddress = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="HOST:PORT", envvar="BERTH_SERVER", help="The server's address; by default `listen.grpc`."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", metavar="KEY", envvar="BERTH_KEY", help="The key to send; by default the first key of the data folder."
    ),
]
Ca = Annotated[
    Path | None,
    typer.Option("--ca", metavar="FILE", envvar="BERTH_CA", help="Use TLS, and trust the authorities in this file."),
]
_FIRST_KEY = "It is the first key of the data folder: pass another one with --key or BERTH_KEY"
_VISIBLE = set(string.ascii_letters + string.digits + string.punctuation)

P = ParamSpec("P")


def remote(command: Callable[Concatenate[Connection, P], None]) -> Callable[..., None]:
    """Replace the first parameter of a command, a connection, by the options that open one."""

    def run(
        *arguments: Any,
        server: ServerAddress = None,
        key: Key = None,
        ca: Ca = None,
        config: ConfigFile = None,
        data_dir: DataDir = None,
        **options: Any,
    ) -> None:
        target = server_of(load_config(config, data_dir), server, key=key, ca=ca)
        with connected(target) as connection:
            try:
                command(connection, *arguments, **options)
            except UnicodeEncodeError as error:
                raise StartError("an argument is not valid UTF-8") from error
            except KeyRequiredError:
                raise ClientError(f"{target.endpoint} requires a key: pass it with --key or BERTH_KEY") from None
            except KeyRefusedError as error:
                raise ClientError(str(error) if key else f"{error} {_FIRST_KEY}") from None
            except RefusedError as error:
                raise ClientError(explain(error)) from None

    shared = [one for one in _parameters(run) if one.kind is inspect.Parameter.KEYWORD_ONLY]
    parameters = [*_parameters(command)[1:], *shared]
    wrapped: Any = wraps(command)(run)
    # Typer reads the parameters from these attributes.
    wrapped.__signature__ = inspect.Signature(parameters)
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return cast("Callable[..., None]", wrapped)


def server_of(config: Config, address: str | None, *, key: str | None, ca: Path | None) -> Server:
    """Return the server to call.

    Raises StartError for a malformed address, key or certificate file, and for another machine without TLS.
    """
    endpoint = _endpoint(config, address)
    trusted = ca or (config.tls.certificate if config.tls else None)
    if trusted is None and not endpoint.is_loopback:
        raise StartError(
            f"--server: {endpoint} is another machine, and nothing would be encrypted; "
            "use TLS with --ca FILE, which contains the authorities to trust"
        )
    is_ours = address is None or endpoint.is_loopback
    shown = _require_visible(key) if key else read_first_key(config.data_dir) if is_ours else None
    return Server(endpoint, None if trusted is None else _read_authorities(trusted), shown)


def provider_of(name: str | None) -> Provider:
    """Return the provider with this short name, PROVIDER_UNSPECIFIED for None."""
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
            raise StartError("--server: required if listen.grpc has the port 0")
        return Endpoint(*listening)
    try:
        return Endpoint.parse(address)
    except ValueError:
        raise StartError(f"--server: must be HOST:PORT, such as 127.0.0.1:50051, not '{address}'") from None


def _require_visible(key: str) -> str:
    if set(key) <= _VISIBLE:
        return key
    raise StartError("--key: must consist of visible ASCII characters, without spaces")


def _read_authorities(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError as error:
        raise StartError(f"--ca: {path} holds no certificates in PEM") from error
    except OSError as error:
        raise StartError(f"--ca: cannot read {path}: {error.strerror}") from error
    return content
