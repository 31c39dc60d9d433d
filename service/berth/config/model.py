"""All settings, with their defaults, bounds and mutual constraints."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationInfo, field_validator

from berth.config.auth import Auth
from berth.config.section import Section, require_unique
from berth.config.values import (
    MAX_FILE_BYTES,
    BaseUrl,
    BlobsUrl,
    Bytes,
    Count,
    HeaderSecret,
    LimitsUrl,
    ListenAddress,
    Name,
    Number,
    Origin,
    ProviderName,
    Retries,
    Seconds,
    SecretKey,
    StoreUrl,
    invalid,
    key_bytes,
)
from berth.launch.address import Address

MIN_JSON_BYTES, MAX_JSON_BYTES = 65_536, 1_073_741_824
OPENAI_URL = "https://api.openai.com/v1"
# These providers have containers of their own, so they are hosted only if that is configured.
PASSTHROUGH_BACKENDS = frozenset({"openai", "azure"})

T = TypeVar("T")


class Listen(Section):
    """The addresses to listen on."""

    grpc: ListenAddress = Address("127.0.0.1", 50051)
    """The gRPC address; port 0 picks a free port."""
    rest: Annotated[ListenAddress, Field(validate_default=True)] = Address("127.0.0.1", 8080)
    """Envoy's address, for REST, gRPC and gRPC-Web; port 0 picks a free port."""
    metrics: ListenAddress | None = None
    """The address that serves Prometheus metrics over plain HTTP; metrics are off unless set."""
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

    @field_validator("rest")
    @classmethod
    def _require_different_address(cls, rest: Address, info: ValidationInfo) -> Address:
        if rest.port and rest == info.data.get("grpc"):
            raise invalid("must not be the address of listen.grpc")
        return rest


class Tls(Section):
    """The certificate of both listeners, and the authorities for client certificates."""

    certificate: Path
    """The certificate chain (PEM) of both listeners. A renewed file is used without a restart."""
    key: Path
    """The private key (PEM) of the certificate."""
    client_ca: Path | None = None
    """The authorities (PEM) that client certificates are verified with; they are not requested unless set."""
    require_client_certificate: bool = True
    """Whether a client certificate is required; applies only with `client_ca`."""


class Store(Section):
    """The database."""

    url: StoreUrl | None = None
    """The database: `sqlite:///PATH`; `<data_dir>/berth.db` unless set."""
    secret_key: SecretKey | None = None
    """The key that the values of `domain_secrets` are encrypted with in the database: 32 random bytes in hexadecimal or
    Base64, such as the output of `openssl rand -hex 32`. They are stored in plain text unless set."""

    def secret_key_bytes(self) -> bytes:
        """Return the 32 bytes of the secret key, which must be set."""
        return key_bytes(self.secret_key.get_secret_value()) if self.secret_key else b""


class Blobs(Section):
    """The blob store, which holds file content."""

    url: BlobsUrl | None = None
    """The folder for file content: `file:///PATH`; `<data_dir>/blobs` unless set."""


class UpstreamKey(Section):
    """A key of Berth at a provider. Several keys are chosen by weight."""

    name: Name
    """The key's name, in the log and in the database. Containers belong to the name, not to the value."""
    value: HeaderSecret
    """The key itself."""
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    """How often the key is chosen for new containers, relative to the weights of the other keys."""
    max_in_flight: Count | None = None
    """The largest number of concurrent calls with the key; unlimited unless set."""


class ProviderSettings(Section):
    """How a provider's containers are served, and how to reach the provider."""

    backend: Literal["hosted", "unsupported", "openai", "azure"]
    """Where the containers are kept. `hosted`: in Berth; `openai`, `azure`: at a provider with that API (passthrough);
    `unsupported`: nowhere, every operation is rejected. The providers `openai` and `azure` are not configured unless
    set; every other provider is hosted unless set."""
    base_url: Annotated[BaseUrl | None, Field(validate_default=True)] = None
    """The URL of a passthrough provider. Required, unless the provider is `openai` with backend `openai`."""
    keys: Annotated[tuple[UpstreamKey, ...] | None, Field(validate_default=True)] = None
    """Berth's keys at the provider; at least one for a passthrough provider."""
    timeout_seconds: Seconds = 30.0
    """The timeout of a request to the provider, retries included."""
    max_retries: Retries = 2
    """The largest number of retries of a request to the provider."""
    extra_headers: dict[str, HeaderSecret] = Field(default_factory=dict)
    """Headers that are added to every request to the provider; the values may be secrets."""
    proxy: BaseUrl | None = None
    """The HTTP proxy for requests to the provider."""
    ca_file: Path | None = None
    """Authorities (PEM) that the provider's certificate is verified with, in addition to those of the system."""
    api_version: Name | None = None
    """Azure's `api-version`, if the provider requires it."""
    cache_seconds: Count | None = None
    """How long responses to retrievals are cached for all callers; unless set, only for callers that ask for it."""
    honours_idempotency_keys: bool = False
    """Whether the provider processes a request with an `Idempotency-Key` only once, as another Berth does."""
    unknown_fields: Literal["forward", "refuse"] = "forward"
    """How fields that Berth does not know are handled: `forward` sends them to the provider, `refuse` answers 400."""

    @field_validator(
        "base_url",
        "keys",
        "timeout_seconds",
        "max_retries",
        "extra_headers",
        "proxy",
        "ca_file",
        "api_version",
        "cache_seconds",
        "honours_idempotency_keys",
        "unknown_fields",
    )
    @classmethod
    def _require_passthrough(cls, value: T, info: ValidationInfo) -> T:
        backend = info.data.get("backend")
        if value is not None and backend in {"hosted", "unsupported"}:
            raise invalid(f"cannot be set with backend '{backend}', which calls no provider")
        return value

    def url(self) -> str:
        """Return the URL of a passthrough provider."""
        return self.base_url or OPENAI_URL

    @field_validator("base_url")
    @classmethod
    def _require_base_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        backend = info.data.get("backend")
        if backend == "azure" and url is None:
            raise invalid("is needed by backend 'azure', such as https://NAME.openai.azure.com")
        return OPENAI_URL if backend == "openai" and url is None else url

    @field_validator("keys")
    @classmethod
    def _require_keys(
        cls, keys: tuple[UpstreamKey, ...] | None, info: ValidationInfo
    ) -> tuple[UpstreamKey, ...] | None:
        backend = info.data.get("backend")
        if not keys and backend in {"openai", "azure"}:
            raise invalid(f"at least one is needed by backend '{backend}', such as {{name: main, value: 'env:NAME'}}")
        require_unique([key.name for key in keys or ()], "name")
        return keys


class Hosted(Section):
    """The expiry and the limits of hosted containers and files."""

    max_minutes: Count = 43_200
    """The largest `expires_after.minutes` of a container."""
    default_minutes: Annotated[Count, Field(validate_default=True)] = 20
    """The idle minutes after which a container expires if the request does not set `expires_after`."""
    retention_hours: Count = 24
    """How long an expired container is kept before it is deleted."""
    tombstone_days: Annotated[int, Field(ge=1, le=3650), Number] = 30
    """How long the row of a deleted container or file is kept, hosted or passed through. It marks a position in lists
    (`after`), and is kept at least `idempotency.hours`."""
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


class Idempotency(Section):
    """How idempotency keys are kept."""

    hours: Annotated[int, Field(ge=1, le=8760), Number] = 24
    """How long the outcome of a request with an idempotency key is kept."""


class Cache(Section):
    """The response cache for passthrough providers."""

    max_bytes: Bytes = 67_108_864
    """The size of the response cache in memory."""
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


class Limiting(Section):
    """Limits of tenants; where the limits of keys are counted, and what happens if that server is unavailable."""

    in_flight: InFlight = InFlight()

    url: LimitsUrl | None = None
    """The Valkey or Redis server that counts for all replicas: `valkey://HOST:6379/0` or `redis://…`, with TLS
    `valkeys://…` or `rediss://…`. Each process counts by itself unless set."""
    when_unavailable: Literal["open", "closed"] = "open"
    """If that server is unavailable: `open` allows calls, `closed` rejects the calls of keys with limits."""


class Cors(Section):
    """Cross-origin requests from browsers."""

    origins: tuple[Origin, ...] = ()
    """The origins from which scripts in browsers may call, such as `https://app.example.com`, or `*` for all."""


class Config(Section):
    """All settings. Relative paths are relative to the working directory."""

    listen: Listen = Listen()
    tls: Tls | None = None
    data_dir: Path = Path(".berth")
    """The folder for the database, file content and generated secrets; only one Berth can use it at a time."""
    store: Store = Store()
    blobs: Blobs = Blobs()
    default_provider: ProviderName | None = None
    """The provider of containers and files that are created without naming one."""
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    """The settings of providers, by name."""
    auth: Auth = Auth()
    hosted: Hosted = Hosted()
    idempotency: Idempotency = Idempotency()
    cache: Cache = Cache()
    limits: Limiting = Limiting()
    cors: Cors = Cors()

    @field_validator("providers")
    @classmethod
    def _require_base_urls(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name, settings in providers.items():
            if settings.backend == "openai" and name != "openai" and "base_url" not in settings.model_fields_set:
                raise invalid(f"{name} needs a base_url with backend 'openai'; the default is OpenAI's own")
        return providers

    def store_url(self) -> str:
        """Return the URL of the database, by default a file in the data folder."""
        return self.store.url or f"sqlite:///{self.data_dir / 'berth.db'}"

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
        return None if provider in PASSTHROUGH_BACKENDS else "hosted"

    def passed_through(self) -> dict[str, ProviderSettings]:
        """Return the settings of the passthrough providers, by short name.

        OpenAI is included, without keys, even if it is not configured, for callers who send their own key.
        """
        named = {
            name: settings for name, settings in self.providers.items() if settings.backend in PASSTHROUGH_BACKENDS
        }
        if "openai" not in self.providers and self.auth.allow_direct_keys:
            named["openai"] = ProviderSettings.model_construct(backend="openai", base_url=OPENAI_URL)
        return named

    def has_callers(self) -> bool:
        """Return whether any virtual key, Basic user or certificate is configured."""
        return bool(self.auth.virtual_keys or self.auth.basic_users or self.auth.certificates)
