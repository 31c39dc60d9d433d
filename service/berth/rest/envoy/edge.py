"""The settings of Envoy: addresses, certificates, origins and limits.

These are values only. The other modules here turn them into Envoy's configuration; `config` reads
them from the file and the environment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

MEBIBYTE = 1_048_576

# For responses: more than a page of the largest containers, less than the 24 MiB that the service may send.
MAX_JSON_ANSWER_BYTES = 20 * MEBIBYTE
# The service accepts 96 KiB of metadata, which leaves room for what Envoy adds.
MAX_REQUEST_HEADERS_KIB = 32
# The service's own limit is higher, so that excess requests get Envoy's 503 and not grpc's bare one.
MAX_REQUESTS = 900
MAX_CONNECTIONS = 10_000
MAX_HEAP_BYTES = 1024 * MEBIBYTE
# How much of a body Envoy reads ahead of the service. This is also the size of the messages of an upload, of which the
# service holds several at a time. With 1 MiB, 16 concurrent uploads take twice the memory and are no faster.
UPLOAD_BUFFER_BYTES = 256 * 1024


SYSTEM_AUTHORITIES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Where systems have the authorities that they trust: Debian, and so Envoy's image, Fedora, SUSE, Alpine and macOS."""
# Over HTTP/1.1 a request has a connection to the service for itself. There may be twice as many, because each thread of
# Envoy keeps unused ones for a while, and uploads and downloads have as many again.
CONNECTIONS_A_REQUEST = 2
MAX_INNER_CONNECTIONS = 2 * CONNECTIONS_A_REQUEST * MAX_REQUESTS


@dataclass(frozen=True)
class Tls:
    """A certificate chain, its key, the authorities of client certificates and their lists, as paths of PEM files.

    Without `client_ca_path`, clients are not asked for a certificate. With it they are, and with
    `require_client_certificate` they are rejected without one. With `secrets_folder`, Envoy finds all
    of it through files there, see `rest.envoy.secrets`, and uses renewed content without a restart.
    """

    certificate_path: str
    key_path: str
    client_ca_path: str | None = None
    client_crl_path: str | None = None
    require_client_certificate: bool = False
    secrets_folder: str | None = None


@dataclass(frozen=True)
class Tracing:
    """Where spans are sent by OTLP, over gRPC or HTTP, and which part of the traces that begin at Envoy is recorded.

    `headers` are formats of Envoy: a percent sign is written twice, and `%ENVIRONMENT(NAME)%` is the value of a
    variable of Envoy's environment. The certificate of an https URL is verified with the authorities in `ca_path`.
    """

    url: str
    protocol: Literal["grpc", "http"] = "grpc"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    ca_path: str = SYSTEM_AUTHORITIES[0]
    sampling_ratio: float = 1.0
    service_name: str = "berth-envoy"


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """Where Envoy listens, where it finds the service, and what it accepts.

    If `grpc_sockets` are set, the service is on these Unix sockets, one of each worker, and not on its host
    and port; with `over_http1` it expects gRPC over HTTP/1.1 there. If `services` are set, it is on all of these
    hosts and ports, each a replica, or a name with the addresses of several. A port of 0 lets the system choose.
    The admin interface does not authenticate anyone and can stop listeners, so it is on the Unix socket
    `admin_socket`, in a private folder, if that is set, and on `admin_port` of 127.0.0.1 otherwise. Envoy opens
    relative paths of sockets in its working directory. With `shares_port`, other sockets of the same user can be
    bound to the REST port as well, with SO_REUSEPORT. A host of `::` accepts IPv4 as well, unless `ipv6_only` is
    set. There are at most `max_requests` transfers and commands with the service at a time, and as many other
    requests, or `max_calls` if these are fewer. `trusted_hops` is the number of balancers in front that are believed
    about the source of a request. `logged_successes` is the part of the successful requests that the access log has.
    With `logs_failures_only`, it has statuses of 500 and more alone.
    """

    rest_host: str = "127.0.0.1"
    rest_port: int = 8080
    ipv6_only: bool = False
    shares_port: bool = False
    grpc_host: str = "127.0.0.1"
    grpc_port: int = 50051
    grpc_sockets: tuple[str, ...] = ()
    over_http1: bool = False
    services: tuple[tuple[str, int], ...] = ()
    admin_port: int = 0
    admin_socket: str | None = None
    cors_origins: tuple[str, ...] = ()
    access_log_path: str | None = "/dev/stderr"
    logged_successes: float = 1.0
    logs_failures_only: bool = False
    tracing: Tracing | None = None
    tls: Tls | None = None
    trusted_hops: int = 0
    max_json_answer_bytes: int = MAX_JSON_ANSWER_BYTES
    max_requests: int = MAX_REQUESTS
    max_calls: int = MAX_REQUESTS
    max_connections: int = MAX_CONNECTIONS
    max_heap_bytes: int = MAX_HEAP_BYTES

    def within(self, connections: int, inner: int) -> "EdgeSettings":
        """Return the settings with at most these connections from clients, and over HTTP/1.1 to the service."""
        requests = max(1, inner // (2 * CONNECTIONS_A_REQUEST)) if self.over_http1 else self.max_requests
        return replace(
            self,
            max_connections=min(self.max_connections, connections),
            max_requests=min(self.max_requests, requests),
        )

    @property
    def has_replicas(self) -> bool:
        """Whether Envoy spreads calls over replicas, and does without those that are not ready."""
        return bool(self.services)
