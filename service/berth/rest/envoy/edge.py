"""The settings of Envoy: addresses, certificates, origins and limits.

These are values only. The other modules here turn them into Envoy's configuration; `config` reads
them from the file and the environment.
"""

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Tls:
    """A certificate chain, its key, and the authorities of client certificates, as paths of PEM files.

    Without `client_ca_path`, clients are not asked for a certificate. With it they are, and with
    `require_client_certificate` they are rejected without one. With `secrets_folder`, all of it is
    read from files there instead, see `rest.envoy.secrets`.
    """

    certificate_path: str
    key_path: str
    client_ca_path: str | None = None
    require_client_certificate: bool = False
    secrets_folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """Where Envoy listens, where it finds the service, and what it accepts.

    If `grpc_socket` is set, the service is on that Unix socket and not on its host and port. A port
    of 0 lets the system choose. The admin interface does not authenticate anyone and can stop
    listeners, so it is on the Unix socket `admin_socket`, in a private folder, if that is set, and on
    `admin_port` of 127.0.0.1 otherwise. Envoy opens relative paths of sockets in its working
    directory. With `shares_port`, other sockets of the same user can be bound to the REST port as well,
    with SO_REUSEPORT. `trusted_hops` is the number of balancers in front that are believed about the source
    of a request.
    """

    rest_host: str = "127.0.0.1"
    rest_port: int = 8080
    shares_port: bool = False
    grpc_host: str = "127.0.0.1"
    grpc_port: int = 50051
    grpc_socket: str | None = None
    admin_port: int = 0
    admin_socket: str | None = None
    cors_origins: tuple[str, ...] = ()
    access_log_path: str | None = "/dev/stderr"
    tls: Tls | None = None
    trusted_hops: int = 0
    max_json_answer_bytes: int = MAX_JSON_ANSWER_BYTES
    max_requests: int = MAX_REQUESTS
    max_connections: int = MAX_CONNECTIONS
    max_heap_bytes: int = MAX_HEAP_BYTES
