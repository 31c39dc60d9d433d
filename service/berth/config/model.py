"""Every setting, with its default, its bounds and what it must agree with."""

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
    StoreUrl,
    refused,
)
from berth.launch.address import Address

MIN_JSON_BYTES, MAX_JSON_BYTES = 65_536, 1_073_741_824
OPENAI_URL = "https://api.openai.com/v1"
# They keep containers of their own, so nobody who names them is given a hosted one unasked.
PASSTHROUGH_BACKENDS = frozenset({"openai", "azure"})

T = TypeVar("T")


class Listen(Section):
    """Where to listen."""

    grpc: ListenAddress = Address("127.0.0.1", 50051)
    """Where gRPC listens; port 0 picks a free one."""
    rest: Annotated[ListenAddress, Field(validate_default=True)] = Address("127.0.0.1", 8080)
    """Where Envoy listens, for REST, gRPC and gRPC-Web; port 0 picks a free one."""
    metrics: ListenAddress | None = None
    """Where Prometheus collects the metrics, over plain HTTP; nowhere unless set."""
    max_json_bytes: Annotated[int, Field(ge=MIN_JSON_BYTES, le=MAX_JSON_BYTES), Number] = 1_048_576
    """How large a JSON body may be. Where a provider is passed through, a create may have 70254592 bytes more, for an
    inline skill."""
    allow_plaintext: bool = False
    """Whether other machines may be spoken with without TLS."""
    trust_sidecar: bool = False
    """Whether callers on this machine, such as the sidecar of a mesh, are believed what they say of client
    certificates."""
    trusted_hops: Annotated[int, Field(ge=0, le=16), Number] = 0
    """How many balancers in front of Berth are believed what they say, in `x-forwarded-for`, of where a request comes
    from."""

    @field_validator("rest")
    @classmethod
    def _differs_from_grpc(cls, rest: Address, info: ValidationInfo) -> Address:
        if rest.port and rest == info.data.get("grpc"):
            raise refused("must not be the address of listen.grpc")
        return rest


class Tls(Section):
    """The certificate that both listeners show, and the authorities of callers' certificates, if those count."""

    certificate: Path
    """The certificate chain (PEM) of both listeners. A renewed one is used without a restart."""
    key: Path
    """The key (PEM) of the certificate."""
    client_ca: Path | None = None
    """The authorities (PEM) that client certificates are checked with; none are asked for unless set."""
    require_client_certificate: bool = True
    """With `client_ca`: whether a client certificate is required."""


class Store(Section):
    """Where the rows of hosted containers are."""

    url: StoreUrl | None = None
    """Where the rows are: `sqlite:///PATH`; `<data_dir>/berth.db` unless set."""


class Blobs(Section):
    """Where the bytes of hosted files are."""

    url: BlobsUrl | None = None
    """Where file content is: `file:///PATH`; `<data_dir>/blobs` unless set."""


class UpstreamKey(Section):
    """A key of Berth's own at a provider. Of several, each is used as often as its weight says."""

    name: Name
    """The key's name, in the log and in rows. Containers belong to the name, not to the value."""
    value: HeaderSecret
    """The key itself."""
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    """How often the key is chosen for a new container, beside the others' weights."""
    max_in_flight: Count | None = None
    """How many calls may run with the key at a time; any number unless set."""


class ProviderSettings(Section):
    """Who keeps a provider's containers, and how to reach it."""

    backend: Literal["hosted", "unsupported", "openai", "azure"]
    """Who keeps the containers. `hosted`: Berth; `openai`, `azure`: a provider with that API (passthrough);
    `unsupported`: nobody, and every operation is refused. `openai` and `azure` are not configured unless set, every
    other provider is hosted."""
    base_url: Annotated[BaseUrl | None, Field(validate_default=True)] = None
    """Where a passthrough provider answers; OpenAI's own address unless set."""
    keys: Annotated[tuple[UpstreamKey, ...] | None, Field(validate_default=True)] = None
    """Berth's own keys of the provider."""
    timeout_seconds: Seconds = 30.0
    """How long a request to the provider may take, all tries included."""
    max_retries: Retries = 2
    """How often a request to the provider is repeated at most."""
    extra_headers: dict[str, HeaderSecret] = Field(default_factory=dict)
    """Headers that go with every request to the provider; the values may be secrets."""
    proxy: BaseUrl | None = None
    """The HTTP proxy on the way to the provider."""
    ca_file: Path | None = None
    """The authorities (PEM) that the provider is trusted by, beside the system's own."""
    api_version: Name | None = None
    """Azure's `api-version`, where it is wanted."""
    cache_seconds: Count | None = None
    """For how long the provider's answers are cached for every caller, asked or not; not cached unless set."""
    honours_idempotency_keys: bool = False
    """Whether the provider does a request with an idempotency key once, as another Berth does."""
    unknown_fields: Literal["forward", "refuse"] = "forward"
    """What becomes of fields that Berth does not know: `forward` sends them on, `refuse` answers 400."""

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
    def _fits_the_backend(cls, value: T, info: ValidationInfo) -> T:
        backend = info.data.get("backend")
        if value is not None and backend in {"hosted", "unsupported"}:
            raise refused(f"makes no sense with backend '{backend}', which calls nobody")
        return value

    def url(self) -> str:
        """Return where the provider answers; only for one that is passed through."""
        return self.base_url or OPENAI_URL

    @field_validator("base_url")
    @classmethod
    def _says_where(cls, url: str | None, info: ValidationInfo) -> str | None:
        backend = info.data.get("backend")
        if backend == "azure" and url is None:
            raise refused("is needed by backend 'azure', such as https://NAME.openai.azure.com")
        return OPENAI_URL if backend == "openai" and url is None else url

    @field_validator("keys")
    @classmethod
    def _has_keys(cls, keys: tuple[UpstreamKey, ...] | None, info: ValidationInfo) -> tuple[UpstreamKey, ...] | None:
        backend = info.data.get("backend")
        if not keys and backend in {"openai", "azure"}:
            raise refused(f"at least one is needed by backend '{backend}', such as {{name: main, value: 'env:NAME'}}")
        require_unique([key.name for key in keys or ()], "name")
        return keys


class Hosted(Section):
    """The life and the limits of hosted containers."""

    max_minutes: Count = 43_200
    """The largest `expires_after.minutes` of a container."""
    default_minutes: Annotated[Count, Field(validate_default=True)] = 20
    """After how many idle minutes a container expires if its creator does not say."""
    retention_hours: Count = 24
    """How long an expired container is kept."""
    max_file_bytes: Bytes = 536_870_912
    """The largest file; at most 4294967295."""
    max_container_bytes: Bytes = 4_294_967_296
    """How many bytes the files of a container may have together."""
    max_tenant_bytes: Bytes = 2_500_000_000_000
    """How many bytes the files of a tenant may have together, in containers and outside."""

    @field_validator("default_minutes")
    @classmethod
    def _within_the_maximum(cls, minutes: int, info: ValidationInfo) -> int:
        maximum = info.data.get("max_minutes")
        if maximum is not None and minutes > maximum:
            raise refused(f"must be at most {maximum}, which is hosted.max_minutes")
        return minutes

    @field_validator("max_file_bytes")
    @classmethod
    def _fits_json(cls, size: int) -> int:
        if size > MAX_FILE_BYTES:
            raise refused(f"must be at most {MAX_FILE_BYTES}: JSON carries sizes as 32-bit numbers")
        return size


class Idempotency(Section):
    """For how long the outcomes of requests with a key are kept."""

    hours: Annotated[int, Field(ge=1, le=8760), Number] = 24
    """How long the outcome of a request with an idempotency key is kept."""


class Cache(Section):
    """What is kept of providers' answers: how much, and for how long unless somebody says otherwise."""

    max_bytes: Bytes = 67_108_864
    """How many bytes of providers' answers are cached in memory."""
    seconds: Count = 300
    """For how long, unless the caller or the provider's setting says."""


class Limiting(Section):
    """Where limits are counted, and what happens while that is away."""

    url: LimitsUrl | None = None
    """The Valkey or Redis that counts for all replicas (`valkey://HOST:6379/0`, `redis://…`, with an `s` for TLS); each
    process counts for itself unless set."""
    when_unavailable: Literal["open", "closed"] = "open"
    """While that server is away: `open` lets calls through, `closed` refuses those of keys with limits."""


class Cors(Section):
    """The web pages whose scripts may call; none unless said."""

    origins: tuple[Origin, ...] = ()
    """The web pages whose scripts may call, such as `https://app.example.com`, or `*`."""


class Config(Section):
    """All settings. Relative paths start at the working directory."""

    listen: Listen = Listen()
    tls: Tls | None = None
    data_dir: Path = Path(".berth")
    """The folder of the embedded stores and of the first key; one Berth at a time."""
    store: Store = Store()
    blobs: Blobs = Blobs()
    default_provider: ProviderName | None = None
    """The provider of a container that is created without one."""
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
    """Who keeps a provider's containers, by the provider's name."""
    auth: Auth = Auth()
    hosted: Hosted = Hosted()
    idempotency: Idempotency = Idempotency()
    cache: Cache = Cache()
    limits: Limiting = Limiting()
    cors: Cors = Cors()

    @field_validator("providers")
    @classmethod
    def _say_where(cls, providers: dict[str, ProviderSettings]) -> dict[str, ProviderSettings]:
        for name, settings in providers.items():
            if settings.backend == "openai" and name != "openai" and "base_url" not in settings.model_fields_set:
                raise refused(f"{name} needs a base_url with backend 'openai': the default one is that of openai")
        return providers

    def store_url(self) -> str:
        """Return the URL of the store, a file in the data folder unless set otherwise."""
        return self.store.url or f"sqlite:///{self.data_dir / 'berth.db'}"

    def blobs_url(self) -> str:
        """Return the URL of the blob store, a folder in the data folder unless set otherwise."""
        return self.blobs.url or (self.data_dir.absolute() / "blobs").as_uri()

    def backend_of(self, provider: str) -> str | None:
        """Return the backend of the provider of that short name; None if nothing says how to reach it."""
        if provider in self.providers:
            return self.providers[provider].backend
        return None if provider in PASSTHROUGH_BACKENDS else "hosted"

    def passed_through(self) -> dict[str, ProviderSettings]:
        """Return the providers that keep containers of their own, by short name.

        OpenAI's is there also where nothing is said of it, without keys: for
        callers who bring one of their own.
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
