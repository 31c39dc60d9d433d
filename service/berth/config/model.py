"""All settings, with their defaults, bounds and mutual constraints."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator

from berth.adapters.upstream.dialects import DIALECTS
from berth.config.auth import Auth
from berth.config.blobs import Blobs
from berth.config.files import SecretSources
from berth.config.providers import PASSTHROUGH_PROVIDERS, ProviderSettings
from berth.config.proxies import EnvironmentProxy, proxy_for
from berth.config.section import Section
from berth.config.telemetry.sections import Log, Telemetry
from berth.config.usage import Usage
from berth.config.values import (
    MAX_FILE_BYTES,
    Bytes,
    Cgroup,
    Count,
    ListenAddress,
    LocalPath,
    MayBeOff,
    Network,
    Number,
    Origin,
    ProviderName,
    SecretKey,
    StoreUrl,
    ValkeyUrl,
    invalid,
    key_bytes,
)
from berth.launch.address import Address

MIN_JSON_BYTES, MAX_JSON_BYTES = 65_536, 1_073_741_824
MAX_EXEC_SECONDS = 86_400


class Listen(Section):
    """The addresses to listen on."""

    grpc: ListenAddress = Address("127.0.0.1", 50051)
    """The gRPC address; port 0 picks a free port."""
    rest: Annotated[ListenAddress, Field(validate_default=True)] = Address("127.0.0.1", 8080)
    """Envoy's address, for REST, gRPC and gRPC-Web; port 0 picks a free port."""
    metrics: ListenAddress | None = None
    """The address that serves Prometheus metrics over plain HTTP; metrics are off unless set."""
    ipv6_only: bool = False
    """Whether the address `[::]` is for IPv6 alone. Unless set, it accepts IPv4 as well, on all ports."""
    max_json_bytes: Annotated[int, Field(ge=MIN_JSON_BYTES, le=MAX_JSON_BYTES), Number] = 1_048_576
    """The largest JSON body. If there is a passthrough provider, creating a container allows 70254592 bytes more, for
    an inline skill."""
    json_seconds: Annotated[int, Field(ge=1, le=3600), Number] = 30
    """How long a JSON body may take to arrive."""
    min_bytes_per_second: Annotated[int, Field(ge=0, le=1_048_576), Number] = 1024
    """The rate at which an upload must arrive on average, with pauses of up to a minute; 0 for no minimum."""
    allow_plaintext: bool = False
    """Whether other machines may connect without TLS."""
    trust_sidecar: bool = False
    """Whether callers on this machine, such as the sidecar of a mesh, are trusted to report client certificates in
    `x-forwarded-client-cert`."""
    trusted_hops: Annotated[int, Field(ge=0, le=16), Number] = 0
    """How many load balancers in front of Berth are trusted to report the caller's address in `x-forwarded-for`."""

    max_connections_per_address: Annotated[int, Field(ge=1, le=1_000_000), Number] | None = None
    """How many connections one address may have to the gRPC port of a process, on Linux; unless set, half of all that
    there may be. With `trusted_hops` there is no such limit, and with `trust_sidecar` none for this machine."""

    @field_validator("rest")
    @classmethod
    def _require_different_address(cls, rest: Address, info: ValidationInfo) -> Address:
        if rest.port and rest == info.data.get("grpc"):
            raise invalid("must not be the address of listen.grpc")
        return rest


class Rest(Section):
    """The Envoy of `berth up`, which serves REST."""

    transport: Literal["grpc", "http1"] = "http1"
    """How this Envoy calls the service: `http1` is gRPC over HTTP/1.1, `grpc` is gRPC over HTTP/2, which takes more
    time. An Envoy that is deployed on its own always uses `grpc`."""
    max_calls: Annotated[int, Field(ge=1, le=900), Number] = 900
    """How many calls Envoy, unless it is a sidecar, has with the service at a time, besides transfers and commands;
    more get 503 with `retry-after`. With hosted containers alone, 128 for each core keep waits short under overload."""


class Tls(Section):
    """The certificate of both listeners, and the authorities for client certificates."""

    certificate: LocalPath
    """The certificate chain (PEM) of both listeners. A renewed file is used without a restart."""
    key: LocalPath
    """The private key (PEM) of the certificate."""
    client_ca: LocalPath | None = None
    """The authorities (PEM) that client certificates are verified with; they are not requested unless set."""
    client_crl: LocalPath | None = None
    """The current revocation lists (PEM) of all authorities that issue client certificates; revocation is not checked
    unless set. A renewed file is used without a restart."""
    require_client_certificate: bool = True
    """Whether a client certificate is required; applies only with `client_ca`."""

    @field_validator("client_crl")
    @classmethod
    def _require_client_ca(cls, crl: Path | None, info: ValidationInfo) -> Path | None:
        if crl is not None and info.data.get("client_ca") is None:
            raise invalid("needs client_ca, the authorities that have issued the list")
        return crl


class Store(Section):
    """The database."""

    url: StoreUrl | None = None
    """The database: `sqlite:///PATH`, or `postgresql://USER:PASSWORD@HOST:5432/DATABASE`, with
    `?sslmode=verify-full&sslrootcert=PATH` for TLS; `<data_dir>/berth.db` unless set."""
    connections: Annotated[int, Field(ge=1, le=100), Number] = 5
    """How many connections to PostgreSQL a process opens at most."""
    prepared_statements: bool = True
    """Whether statements are prepared once per connection; `false` for a pooler such as PgBouncer that gives each
    transaction another connection."""
    secret_key: SecretKey | None = None
    """The key that the values of `domain_secrets` are encrypted with in the database: 32 random bytes in hexadecimal or
    Base64, such as the output of `openssl rand -hex 32`. They are stored in plain text unless set."""

    def secret_key_bytes(self) -> bytes:
        """Return the 32 bytes of the secret key, which must be set."""
        return key_bytes(self.secret_key.get_secret_value()) if self.secret_key else b""


class Hosted(Section):
    """The expiry and the limits of hosted containers and files."""

    max_minutes: Count = 43_200
    """The largest `expires_after.minutes` of a container."""
    default_minutes: Annotated[Count, Field(validate_default=True)] = 20
    """The idle minutes after which a container expires if the request does not set `expires_after`."""
    retention_hours: Count = 24
    """How long an expired container is kept before it is deleted."""
    tombstone_days: Annotated[int, Field(ge=1, le=3650), Number] = 30
    """How long the row of a deleted container or file is kept, hosted or passed through, and that of a container that
    expired at a provider. It marks a position in lists (`after`), and is kept at least `idempotency.hours`."""
    max_file_bytes: Bytes = 536_870_912
    """The largest file; at most 4294967295."""
    max_container_bytes: Bytes = 4_294_967_296
    """The largest total size of the files in a container."""
    max_tenant_bytes: Bytes = 2_500_000_000_000
    """The largest total size of a tenant's files, inside and outside of containers."""

    @field_validator("default_minutes")
    @classmethod
    def _require_at_most_maximum(cls, minutes: int, info: ValidationInfo) -> int:
        maximum = info.data.get("max_minutes")
        if maximum is not None and minutes > maximum:
            raise invalid(f"must be at most {maximum}, which is hosted.max_minutes")
        return minutes

    @field_validator("max_file_bytes")
    @classmethod
    def _require_32_bits(cls, size: int) -> int:
        if size > MAX_FILE_BYTES:
            raise invalid(f"must be at most {MAX_FILE_BYTES}: JSON carries sizes as 32-bit numbers")
        return size


class Egress(Section):
    """What commands can reach in containers with an allowlist of domains."""

    ports: tuple[Annotated[int, Field(ge=1, le=65_535), Number], ...] = (80, 443)
    """The ports that commands can connect to; none for no network at all."""
    private_networks: tuple[Network, ...] = ()
    """Addresses and networks that are not public, such as `10.1.2.3` or `10.1.0.0/16`, that an allowed domain may lead
    to: of a package mirror, for example. Services there, Berth among them, see Berth's machine as the caller."""
    max_bytes: Bytes = 1_073_741_824
    """How much a command may send and receive."""


class Exec(Section):
    """Running commands in hosted containers: the sandbox, and the limits of commands."""

    driver: Annotated[Literal["auto", "bubblewrap", "gvisor", "off"], MayBeOff] = "auto"
    """The sandbox: `auto` is `gvisor` if `exec.runsc` is set, else `bubblewrap`; `off` runs no commands. Where it does
    not work, no command is run."""
    runsc: Annotated[LocalPath | None, Field(validate_default=True)] = None
    """The program of gVisor, which the driver `gvisor` needs."""
    runtime: LocalPath | None = None
    """The folder with the Python of commands, which `berth runtime create` makes; that of Berth, bare, unless set."""
    cgroup: Cgroup = "auto"
    """The folder of cgroups v2 in which the kernel bounds the memory of commands: `auto` is the group of Berth itself
    where that is delegated to it; `off` leaves it to a watch. If a path cannot be used, no command is run."""
    accept_shared_kernel: bool = False
    """Whether the driver `bubblewrap` may be used although several tenants can reach hosted containers, or a listener
    is beyond loopback. Its sandboxes share the kernel of the machine."""
    timeout_seconds: Annotated[int, Field(ge=1, le=MAX_EXEC_SECONDS), Number] = 60
    """How long a command may run if the request does not set `timeout_ms`."""
    max_timeout_seconds: Annotated[int, Field(ge=1, le=MAX_EXEC_SECONDS, validate_default=True), Number] = 3600
    """The largest `timeout_ms` of a request, in seconds."""
    output_bytes: Annotated[int, Field(ge=1, le=16_777_216), Number] = 1_048_576
    """How much of what a command writes to stdout and stderr is kept."""
    capacity_bytes: Bytes | None = None
    """How much memory all commands of a process of Berth may have at a time, as the sum of the `memory_limit` of their
    containers; unless set, the memory of the machine, of which each of several workers has an equal share."""
    tenant_capacity_bytes: Bytes | None = None
    """How much of `capacity_bytes` the commands and sessions of a tenant may have at a time; all of it unless set."""
    disk_bytes: Bytes = 1_073_741_824
    """How much a command may write into its folder."""
    files: Annotated[int, Field(ge=1, le=100_000), Number] = 2000
    """How many files a command may write."""
    processes: Annotated[int, Field(ge=1, le=32_768), Number] = 256
    """How many processes and threads a command may have at a time."""
    sessions: Annotated[int, Field(ge=1, le=1000), Number] = 16
    """How many sessions of Python there are at most in a process of Berth; for another one, the session that has been
    idle for longest is ended. Each takes the `memory_limit` of its container from `capacity_bytes`."""
    session_idle_seconds: Annotated[int, Field(ge=1, le=86_400), Number] = 900
    """After how long without a program a session is ended."""
    egress: Egress = Egress()

    @field_validator("runsc")
    @classmethod
    def _require_program(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is None and info.data.get("driver") == "gvisor":
            raise invalid("must be set, since exec.driver is gvisor")
        return path

    @field_validator("max_timeout_seconds")
    @classmethod
    def _require_at_least_default(cls, seconds: int, info: ValidationInfo) -> int:
        default = info.data.get("timeout_seconds")
        if default is not None and seconds < default:
            raise invalid(f"must be at least {default}, which is exec.timeout_seconds")
        return seconds


class Idempotency(Section):
    """How idempotency keys are kept."""

    hours: Annotated[int, Field(ge=1, le=8760), Number] = 24
    """How long the outcome of a request with an idempotency key is kept."""


class Cache(Section):
    """The response cache for passthrough providers."""

    url: ValkeyUrl | None = None
    """The Valkey or Redis server that keeps the response cache for all replicas: `valkey://HOST:6379/0` or `redis://…`,
    with TLS `valkeys://…` or `rediss://…`; it may be that of `limits.url`. Each process has a cache in memory unless
    set."""
    max_bytes: Bytes = 67_108_864
    """The size of the response cache in memory; of no effect with `cache.url`."""
    seconds: Count = 300
    """How long a response is cached, unless the caller or the provider's `cache_seconds` sets it."""


Calls = Annotated[int, Field(ge=0, le=1_000_000), Number]


class InFlight(Section):
    """How many calls of a tenant may run at a time in one process, by kind of operation; 0 for no limit."""

    read: Calls = 500
    """Calls that read rows."""
    write: Calls = 250
    """Calls that change something, uploads among them."""
    content: Calls = 250
    """Downloads."""
    exec: Calls = 50
    """Calls that run commands or follow them."""
    mcp: Calls = 250
    """Messages of MCP. The operations of the tools that they call count, too, by their kind."""


class Limiting(Section):
    """Limits of tenants; where the limits of keys are counted, and what happens if that server is unavailable."""

    in_flight: InFlight = InFlight()

    url: ValkeyUrl | None = None
    """The Valkey or Redis server that counts for all replicas: `valkey://HOST:6379/0` or `redis://…`, with TLS
    `valkeys://…` or `rediss://…`. Each process counts by itself unless set."""
    when_unavailable: Literal["open", "closed"] = "open"
    """If that server is unavailable: `open` allows calls, `closed` rejects the calls of keys with limits."""


class Audit(Section):
    """The audit trail in the log."""

    when_unavailable: Literal["drop", "refuse"] = "drop"
    """If the log cannot be written: `drop` goes on and counts the lines that are lost, `refuse` answers requests that
    create or delete something with 503 `audit_unavailable`, before anything is done."""


class Cors(Section):
    """Cross-origin requests from browsers."""

    origins: tuple[Origin, ...] = ()
    """The origins from which scripts in browsers may call, such as `https://app.example.com`, or `*` for all."""


class Config(Section):
    """All settings. Relative paths are relative to the working directory; `~` is the home folder."""

    listen: Listen = Listen()
    rest: Rest = Rest()
    tls: Tls | None = None
    data_dir: LocalPath = Path(".berth")
    """The folder for the database, file content and generated secrets; only one Berth can use it at a time."""
    store: Store = Store()
    blobs: Blobs = Blobs()
    default_provider: ProviderName | None = None
    """The provider of containers and files that are created without naming one."""
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    """The settings of providers, by name."""
    auth: Auth = Auth()
    hosted: Hosted = Hosted()
    exec: Exec = Exec()
    idempotency: Idempotency = Idempotency()
    cache: Cache = Cache()
    limits: Limiting = Limiting()
    usage: Usage = Usage()
    audit: Audit = Audit()
    log: Log = Log()
    telemetry: Telemetry = Telemetry()
    cors: Cors = Cors()

    _proxies: dict[str, EnvironmentProxy] = PrivateAttr(default_factory=dict)

    def model_post_init(self, context: Any, /) -> None:
        """Look up the proxies of the environment, which the context of the validation has."""
        for name, settings in self.passed_through().items():
            if (proxy := proxy_for(settings.url(), _environ(context))) and proxy.is_supported:
                self._proxies[name] = proxy

    @field_validator("providers")
    @classmethod
    def _require_supported_proxies(
        cls, providers: dict[str, ProviderSettings], info: ValidationInfo
    ) -> dict[str, ProviderSettings]:
        for name, settings in providers.items():
            if settings.backend in DIALECTS and settings.proxy is None:
                proxy = proxy_for(settings.url(), _environ(info.context))
                if proxy and not proxy.is_supported:
                    advice = f"add the provider to NO_PROXY, or set providers.{name}.proxy"
                    raise invalid(f"{proxy.variable} must be an http:// or https:// URL to reach {name}; {advice}")
        return providers

    @field_validator("providers")
    @classmethod
    def _require_base_urls(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name, settings in providers.items():
            if name != "openai" and settings.backend == "openai" and "base_url" not in settings.model_fields_set:
                raise invalid(f"{name} needs a base_url with backend 'openai'; the default is OpenAI's own")
        return providers

    def store_url(self) -> str:
        """Return the URL of the database, by default a file in the data folder."""
        return self.store.url.get_secret_value() if self.store.url else f"sqlite:///{self.data_dir / 'berth.db'}"

    def blobs_url(self) -> str:
        """Return the URL of the blob store, by default a folder in the data folder."""
        return self.blobs.url or (self.data_dir.absolute() / "blobs").as_uri()

    def tombstone_seconds(self) -> int:
        """Return how long deleted rows stay: at least as long as idempotency keys, which find what they created."""
        return max(self.hosted.tombstone_days * 86_400, self.idempotency.hours * 3600)

    def backend_of(self, provider: str) -> str | None:
        """Return the backend of the provider with this short name; None if the provider is not configured."""
        if provider in self.providers:
            return self.providers[provider].backend
        return None if provider in PASSTHROUGH_PROVIDERS else "hosted"

    def passed_through(self) -> dict[str, ProviderSettings]:
        """Return the settings of the passthrough providers, by short name.

        OpenAI is included, without keys, even if it is not configured, for callers who send their own key.
        """
        named = {name: settings for name, settings in self.providers.items() if settings.backend in DIALECTS}
        if "openai" not in self.providers and self.auth.allow_direct_keys:
            named["openai"] = ProviderSettings.model_construct(backend="openai")
        return named

    def proxy_of(self, provider: str) -> str | None:
        """Return the URL of the proxy for requests to a passthrough provider: the configured one, or the environment's.

        A proxy of another kind in the environment, such as SOCKS, is not used for a provider that is not configured.
        """
        configured = self.passed_through()[provider].proxy
        found = self._proxies.get(provider)
        return configured or (found.url if found else None)

    def has_callers(self) -> bool:
        """Return whether any virtual key, Basic user or certificate is configured."""
        return bool(self.auth.virtual_keys or self.auth.basic_users or self.auth.certificates)


def _environ(context: SecretSources | None) -> Mapping[str, str]:
    return context.environ if context else {}
