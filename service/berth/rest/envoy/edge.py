"""What Envoy is told about its place: addresses, certificates, origins, limits.

These are values only. `rest.filters` and `rest.envoy` turn them into Envoy's
configuration; `config` reads them from the file and the environment.
"""

from dataclasses import dataclass

MEBIBYTE = 1_048_576

# For answers: more than a page of the largest containers, less than the 24 MiB that the service may send.
MAX_JSON_ANSWER_BYTES = 20 * MEBIBYTE
# The service takes 96 KiB of metadata. What Envoy adds on the way fits in between.
MAX_REQUEST_HEADERS_KIB = 32
# The service itself stops at more than this: who is one too many gets Envoy's 503 and not grpc's bare one.
MAX_REQUESTS = 900
MAX_CONNECTIONS = 10_000
MAX_HEAP_BYTES = 1024 * MEBIBYTE
# How much of a body Envoy reads ahead of the service, and so how large the messages of an upload get, of which the
# service holds several at a time. With 1 MiB 16 uploads at once take twice the memory, and are no faster.
UPLOAD_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Tls:
    """A certificate chain and its key, and the authorities of callers' certificates: paths of PEM files.

    Without `client_ca_path` callers are not asked for a certificate; with it they
    are, and turned away without one if `require_client_certificate`. With
    `secrets_folder` all of it is read from files there instead, see `rest.secrets`.
    """

    certificate_path: str
    key_path: str
    client_ca_path: str | None = None
    require_client_certificate: bool = False
    secrets_folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class EdgeSettings:
    """Where Envoy listens, what it stands before, and whom it lets through.

    The service is on the Unix socket `grpc_socket`, where that is set, and not on
    its host and port. A port of 0 lets the system choose. The admin interface always listens on
    127.0.0.1: it can stop Envoy, and asks nobody who he is. `trusted_hops` balancers stand in front, whose word on
    where a request comes from is believed.
    """

    rest_host: str = "127.0.0.1"
    rest_port: int = 8080
    grpc_host: str = "127.0.0.1"
    grpc_port: int = 50051
    grpc_socket: str | None = None
    admin_port: int = 0
    cors_origins: tuple[str, ...] = ()
    access_log_path: str | None = "/dev/stderr"
    tls: Tls | None = None
    trusted_hops: int = 0
    max_json_answer_bytes: int = MAX_JSON_ANSWER_BYTES
    max_requests: int = MAX_REQUESTS
    max_connections: int = MAX_CONNECTIONS
    max_heap_bytes: int = MAX_HEAP_BYTES
