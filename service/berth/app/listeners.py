"""Starts the listeners: gRPC and, in front of it, Envoy, with or without TLS."""

import asyncio
import json
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, suppress
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.config import Config
from berth.launch.address import Address
from berth.launch.certificates import Certificates, Pem
from berth.launch.envoy_process import ADMIN_SOCKET
from berth.launch.envoy_supervisor import RunningEnvoy, running_envoy
from berth.launch.private_folder import private_folder, short_path
from berth.launch.refusal import StartError
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings, Tls
from berth.rest.envoy.secrets import secret_files
from berth.rpc.server import Server
from berth.rpc.tls import server_credentials

GRACE_SECONDS = 30.0
"""How long running requests may take to finish during a shutdown: first in Envoy, then in the service."""


_GRPC_SOCKET = "grpc"
_SECRETS = "secrets"


class Listeners:
    """The listeners of the service and of its Envoy.

    Methods raise StartError if an address or a certificate cannot be used, or if an address would serve plaintext to
    other machines without permission.
    """

    def __init__(
        self,
        config: Config,
        stack: AsyncExitStack,
        *,
        rest: bool,
        shared: Mapping[str, Address],
        log: FilteringBoundLogger,
    ) -> None:
        """Prepare the listeners. `shared` are the addresses, by setting, of the Berth that is to be replaced."""
        self._config = config
        self._shared = shared
        self._stack = stack
        self._log = log
        _require_encryption(config, rest=rest)
        tls = config.tls
        self._certificates = Certificates(tls.certificate, tls.key, tls.client_ca, log=log) if tls else None
        self._metrics = stack.enter_context(ExitStack())
        self._private = stack.enter_context(private_folder(config.data_dir)) if rest else None
        if self._private:
            (self._private / _SECRETS).mkdir(mode=0o700)

    def bind(self, server: Server) -> Address:
        """Make `server` listen for callers and, if there is one, for Envoy; return the address for callers."""
        address = self._address("listen.grpc", self._config.listen.grpc)
        certificates, tls = self._certificates, self._config.tls
        credentials = None
        if certificates and tls:
            require_client = tls.client_ca is not None and tls.require_client_certificate
            credentials = server_credentials(lambda: certificates.current, require_client=require_client)
        try:
            bound = address._replace(port=server.bind(str(address), credentials))
            if self._private:
                server.bind_for_envoy(self._stack.enter_context(short_path(self._private / _GRPC_SOCKET)))
        except OSError as error:
            raise StartError(f"listen.grpc: {error}") from error
        return bound

    def serve_metrics(self, metrics: PrometheusMetrics) -> Address | None:
        """Serve the metrics, if their address is set; return the address that is listened on.

        None if the Berth that is to be replaced serves its own there.
        """
        wanted = self._config.listen.metrics
        if wanted is None or self._is_shared("listen.metrics", wanted):
            return None
        return self._serve_metrics(metrics, wanted)

    def take_over_metrics(self, metrics: PrometheusMetrics) -> Address | None:
        """Serve the metrics at the address of the Berth that has been replaced; an error is logged."""
        wanted = self._config.listen.metrics
        if wanted is None:
            return None
        try:
            return self._serve_metrics(metrics, self._shared["listen.metrics"])
        except StartError as error:
            self._log.error("metrics.failed", reason=str(error))
            return None

    def _serve_metrics(self, metrics: PrometheusMetrics, address: Address) -> Address:
        address.require_free("listen.metrics")
        return address._replace(port=self._metrics.enter_context(metrics.served(address.host, address.port)))

    async def close_metrics(self) -> None:
        """Stop to serve the metrics."""
        await asyncio.to_thread(self._metrics.close)

    async def watch(self) -> None:
        """Start to reload renewed certificates in the background."""
        if self._certificates is None:
            return
        watching = asyncio.create_task(self._certificates.watch(self._write_secrets))
        self._stack.push_async_callback(cancelled, watching)

    def reserve_rest(self) -> Address:
        """Keep the port of REST, while Envoy is restarted, too; return its address."""
        address = self._address("listen.rest", self._config.listen.rest)
        return self._stack.enter_context(address.reserved("listen.rest"))

    def _address(self, setting: str, wanted: Address) -> Address:
        """Return the address of the Berth to be replaced, if it is `wanted`, or else `wanted`, which must be free."""
        if self._is_shared(setting, wanted):
            return self._shared[setting]
        wanted.require_free(setting)
        return wanted

    def _is_shared(self, setting: str, wanted: Address) -> bool:
        shared = self._shared.get(setting)
        return shared is not None and wanted in {shared, shared._replace(port=0)}

    def envoy(self, rest: Address, *, json_log: bool) -> AbstractAsyncContextManager[RunningEnvoy]:
        """Return a context in which Envoy runs in front of the service and listens on `rest`."""
        if self._private is None:
            raise ValueError("there is no REST without a private folder")
        if self._certificates:
            self._write_secrets(self._certificates.current)
        settings = edge_settings(
            self._config, self._config.listen.grpc, rest=rest, access_log=json_log, private=self._private
        )
        return running_envoy(
            bootstrap(settings),
            self._private,
            listener="rest",
            grace_seconds=GRACE_SECONDS,
            json_log=json_log,
            log=self._log,
        )

    def _write_secrets(self, pem: Pem) -> None:
        """Write the certificates for Envoy, each file atomically and readable by this user only."""
        if self._private is None:
            return
        client_ca = pem.client_ca.decode() if pem.client_ca else None
        for name, content in secret_files(pem.certificate.decode(), pem.key.decode(), client_ca).items():
            _write_private(self._private / _SECRETS / name, json.dumps(content))


def edge_settings(
    config: Config,
    grpc: Address,
    *,
    rest: Address | None = None,
    access_log: bool = True,
    private: Path | None = None,
) -> EdgeSettings:
    """Return the settings from which Envoy's configuration is made; `grpc` is the service's address.

    `rest` is the address to listen on, if it is not that of the configuration.
    `private` is the working directory of the Envoy of `berth up`, with the sockets and the current certificates.
    `access_log` is off on a terminal, because its lines are JSON and those of the service are not.
    """
    upstream, listen = grpc.to_call(), rest or config.listen.rest
    return EdgeSettings(
        rest_host=listen.host,
        rest_port=listen.port,
        grpc_host=upstream.host,
        grpc_port=upstream.port,
        grpc_socket=_GRPC_SOCKET if private else None,
        admin_socket=ADMIN_SOCKET if private else None,
        shares_port=private is not None,
        cors_origins=config.cors.origins,
        access_log_path="/dev/stderr" if access_log else None,
        trusted_hops=config.listen.trusted_hops,
        tls=_edge_tls(config, private),
    )


def _edge_tls(config: Config, private: Path | None) -> Tls | None:
    tls = config.tls
    if tls is None:
        return None
    return Tls(
        str(tls.certificate),
        str(tls.key),
        client_ca_path=str(tls.client_ca) if tls.client_ca else None,
        require_client_certificate=tls.require_client_certificate,
        secrets_folder=str(private / _SECRETS) if private else None,
    )


def _require_encryption(config: Config, *, rest: bool) -> None:
    """Raise StartError if other machines would be served in plaintext and `listen.allow_plaintext` is off.

    Also raise it if client certificates are configured and nothing checks them.
    """
    listen = config.listen
    addresses = {"listen.grpc": listen.grpc, "listen.metrics": listen.metrics}
    if rest:
        addresses["listen.rest"] = listen.rest
    for setting, address in addresses.items():
        is_encrypted = config.tls is not None and setting != "listen.metrics"
        if address and not (address.is_loopback or is_encrypted or listen.allow_plaintext):
            advice = "set tls, or allow it with listen.allow_plaintext: true"
            raise StartError(
                f"{setting}: other machines could reach {address}, and nothing would be encrypted; {advice}"
            )
    has_authority = (config.tls is not None and config.tls.client_ca is not None) or listen.trust_sidecar
    if config.auth.certificates and not has_authority:
        raise StartError("auth.certificates: nothing checks them; set tls.client_ca, or listen.trust_sidecar in a mesh")


def _write_private(path: Path, text: str) -> None:
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


async def cancelled(task: "asyncio.Task[None]") -> None:
    """Cancel `task` and wait for its end."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
