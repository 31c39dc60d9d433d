"""Starts the listeners: gRPC and, in front of it, Envoy, with or without TLS."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from structlog.typing import FilteringBoundLogger

from berth.adapters.prometheus.merged import MergedMetrics
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.config import Config
from berth.core.background import cancelled
from berth.launch.address import Address
from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import RunningEnvoy, running_envoy
from berth.launch.ipv4 import refuse_ipv4
from berth.launch.private_folder import short_path
from berth.launch.process.open_files import shared_connections
from berth.launch.refusal import StartError
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import MAX_INNER_CONNECTIONS, SYSTEM_AUTHORITIES, EdgeSettings, Tls, Tracing
from berth.rest.envoy.secrets import inline_secrets

if TYPE_CHECKING:
    from berth.launch.certificates import Certificates, Pem
    from berth.rpc.server import Server

GRACE_SECONDS = 30.0
"""How long running requests may take to finish during a shutdown: first in Envoy, then in the service."""

GRPC = "listen.grpc"
_SECRETS = "secrets"
_WITHOUT_REQUESTS = {"warning", "error"}
"""The levels of the log with which Envoy logs only requests that have failed."""
ServedMetrics = PrometheusMetrics | MergedMetrics


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
        private: Path | None = None,
        socket: Path | None = None,
        workers: int = 1,
    ) -> None:
        """Prepare the listeners.

        `shared` are the addresses, by setting, at which others of this user may listen, too: the Berth that is to be
        replaced, and other workers. `private` is the folder in which Envoy runs, if this process runs it; `socket` is
        where it finds the service of this process, which is one of several `workers`.
        """
        self._config = config
        self._workers = workers
        self._shared = shared
        self._stack = stack
        self._log = log
        self._ipv6_only = config.listen.ipv6_only
        self._certificates = check_listeners(config, rest=rest, log=log)
        self._metrics = stack.enter_context(ExitStack())
        self._private = private if rest else None
        self._socket = socket if rest else None
        if self._private:
            (self._private / _SECRETS).mkdir(mode=0o700)

    def trusted(self) -> "Pem | None":
        """Return the current certificates, with the authorities of clients; None without TLS."""
        return self._certificates.current if self._certificates else None

    def bind(self, server: "Server") -> Address:
        """Make `server` listen for callers and, if there is one, for Envoy; return the address for callers."""
        address = self._address(GRPC, self._config.listen.grpc)
        certificates, tls = self._certificates, self._config.tls
        credentials = None
        if certificates and tls:
            from berth.rpc.tls.credentials import server_credentials  # noqa: PLC0415 - a supervisor does without grpc

            require_client = tls.client_ca is not None and tls.require_client_certificate
            credentials = server_credentials(lambda: certificates.current[:3], require_client=require_client)
        try:
            bound = address._replace(port=server.bind(str(address), credentials))
            if address.host == "::" and self._ipv6_only:
                refuse_ipv4(bound.port)
            if self._socket:
                path = self._stack.enter_context(short_path(self._socket))
                server.bind_for_envoy(path, over_http1=_is_over_http1(self._config))
        except OSError as error:
            # The address was free a moment ago, so with TLS it is grpc that does not like the key.
            setting = (
                f"tls.certificate: grpc cannot use {tls.certificate} with {tls.key}, or" if tls else "listen.grpc:"
            )
            raise StartError(f"{setting} {error}") from error
        return bound

    def serve_metrics(self, metrics: ServedMetrics) -> Address | None:
        """Serve the metrics, if their address is set; return the address that is listened on.

        None if the Berth that is to be replaced serves its own there.
        """
        wanted = self._config.listen.metrics
        if wanted is None or self._is_shared("listen.metrics", wanted):
            return None
        return self._serve_metrics(metrics, wanted)

    def take_over_metrics(self, metrics: ServedMetrics) -> Address | None:
        """Serve the metrics at the address of the Berth that has been replaced; an error is logged."""
        wanted = self._config.listen.metrics
        if wanted is None:
            return None
        try:
            return self._serve_metrics(metrics, self._shared["listen.metrics"])
        except StartError as error:
            self._log.error("metrics.failed", reason=str(error))
            return None

    def _serve_metrics(self, metrics: ServedMetrics, address: Address) -> Address:
        address.require_free("listen.metrics", ipv6_only=self._ipv6_only)
        accepts_ipv4 = address.accepts_ipv4(ipv6_only=self._ipv6_only)
        served = metrics.served(address.host, address.port, accepts_ipv4=accepts_ipv4)
        return address._replace(port=self._metrics.enter_context(served))

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
        return self._reserve("listen.rest", self._config.listen.rest)

    def reserve_grpc(self) -> Address:
        """Keep the port of gRPC for workers; return its address."""
        return self._reserve(GRPC, self._config.listen.grpc)

    def _reserve(self, setting: str, wanted: Address) -> Address:
        address = self._address(setting, wanted)
        return self._stack.enter_context(address.reserved(setting, ipv6_only=self._ipv6_only))

    def _address(self, setting: str, wanted: Address) -> Address:
        """Return the address of the Berth to be replaced, if it is `wanted`, or else `wanted`, which must be free."""
        if self._is_shared(setting, wanted):
            return self._shared[setting]
        wanted.require_free(setting, ipv6_only=self._ipv6_only)
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
            self._config,
            self._config.listen.grpc,
            rest=rest,
            access_log=json_log,
            private=self._private,
            workers=self._workers,
        )
        # Envoy has the same limit of open files, and ends if it has none for a connection to the service.
        return running_envoy(
            bootstrap(settings.within(*connection_limits(self._config, rest=True))),
            self._private,
            listener="rest",
            grace_seconds=GRACE_SECONDS,
            json_log=json_log,
            log=self._log,
            workers=self._workers,
        )

    def _write_secrets(self, pem: "Pem") -> None:
        """Write the certificates for Envoy, each file atomically and readable by this user only."""
        if self._private is None:
            return
        client_ca = pem.client_ca.decode() if pem.client_ca else None
        for name, content in inline_secrets(pem.certificate.decode(), pem.key.decode(), client_ca).items():
            _write_private(self._private / _SECRETS / name, json.dumps(content))


def check_listeners(config: Config, *, rest: bool, log: FilteringBoundLogger) -> "Certificates | None":
    """Return the certificates, None without TLS; raise StartError if the listeners cannot be served like this."""
    _require_encryption(config, rest=rest)
    tls = config.tls
    if tls is None:
        return None
    from berth.launch.certificates import Certificates, Files  # noqa: PLC0415 - cryptography takes 7 MiB

    return Certificates(Files(tls.certificate, tls.key, tls.client_ca, tls.client_crl), log=log)


def edge_settings(
    config: Config,
    grpc: Address,
    *,
    rest: Address | None = None,
    access_log: bool = True,
    private: Path | None = None,
    secrets: Path | None = None,
    workers: int = 1,
) -> EdgeSettings:
    """Return the settings from which Envoy's configuration is made; `grpc` is the service's address.

    `rest` is the address to listen on, if it is not that of the configuration.
    `private` is the working directory of the Envoy of `berth up`, with the current certificates and the sockets, one of
    each worker.
    `secrets` is the folder of the files through which another Envoy finds the certificates; if both are None, it reads
    the certificates only at start.
    `access_log` is off on a terminal, because its lines are JSON and those of the service are not.
    """
    upstream, listen = grpc.to_call(), rest or config.listen.rest
    return EdgeSettings(
        rest_host=listen.host,
        rest_port=listen.port,
        ipv6_only=config.listen.ipv6_only,
        grpc_host=upstream.host,
        grpc_port=upstream.port,
        grpc_sockets=tuple(map(grpc_socket, range(workers))) if private else (),
        over_http1=private is not None and _is_over_http1(config),
        admin_socket=ADMIN_SOCKET if private else None,
        shares_port=private is not None,
        cors_origins=config.cors.origins,
        access_log_path="/dev/stderr" if access_log else None,
        logs_failures_only=config.log.level in _WITHOUT_REQUESTS,
        logged_successes=config.log.sampling_ratio,
        tracing=_edge_tracing(config, is_own=private is not None),
        trusted_hops=config.listen.trusted_hops,
        max_calls=config.rest.max_calls,
        tls=_edge_tls(config, private / _SECRETS if private else secrets),
    )


def connection_limits(config: Config, *, rest: bool) -> tuple[int, int]:
    """Return how many connections from callers there may be, and how many between the own Envoy and the service."""
    return shared_connections(MAX_INNER_CONNECTIONS if rest and _is_over_http1(config) else 0)


def _is_over_http1(config: Config) -> bool:
    return config.rest.transport == "http1"


def grpc_socket(worker: int) -> str:
    """Return the name of the socket of a worker, in the private folder."""
    return f"grpc-{worker}" if worker else "grpc"


def _edge_tracing(config: Config, *, is_own: bool) -> Tracing | None:
    """Return where Envoy sends spans. Only the private file of the own Envoy has the values of headers."""
    telemetry = config.telemetry
    if telemetry.endpoint is None:
        return None
    secrets = {name: value.get_secret_value().replace("%", "%%") for name, value in telemetry.headers.items()}
    return Tracing(
        telemetry.endpoint,
        telemetry.protocol,
        headers=secrets if is_own else {name: f"%ENVIRONMENT({header_variable(name)})%" for name in secrets},
        ca_path=str(telemetry.ca_file.absolute()) if telemetry.ca_file else _system_authorities(),
        sampling_ratio=telemetry.sampling_ratio,
        service_name=f"{telemetry.service_name}-envoy",
    )


def _system_authorities() -> str:
    """Return the file with the authorities that this system trusts, or where an image of Envoy has it."""
    return next((path for path in SYSTEM_AUTHORITIES if Path(path).exists()), SYSTEM_AUTHORITIES[0])


def header_variable(name: str) -> str:
    """Return the variable in which an Envoy that is deployed on its own finds a header for the collector."""
    return f"BERTH_TELEMETRY_HEADER_{re.sub('[^A-Z0-9]', '_', name.upper())}"


def _edge_tls(config: Config, secrets: Path | None) -> Tls | None:
    tls = config.tls
    if tls is None:
        return None
    client_ca, client_crl = (str(path.absolute()) if path else None for path in (tls.client_ca, tls.client_crl))
    return Tls(
        str(tls.certificate.absolute()),
        str(tls.key.absolute()),
        client_ca_path=client_ca,
        client_crl_path=client_crl,
        require_client_certificate=tls.require_client_certificate,
        secrets_folder=str(secrets.absolute()) if secrets else None,
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
