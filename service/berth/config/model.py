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
KEEPERS = frozenset({"openai", "azure"})

T = TypeVar("T")


class Listen(Section):
    """Where to listen."""

    grpc: ListenAddress = Address("127.0.0.1", 50051)
    rest: Annotated[ListenAddress, Field(validate_default=True)] = Address("127.0.0.1", 8080)

    metrics: ListenAddress | None = None
    max_json_bytes: Annotated[Bytes, Field(ge=MIN_JSON_BYTES, le=MAX_JSON_BYTES)] = 1_048_576
    allow_plaintext: bool = False
    trust_sidecar: bool = False
    trusted_hops: Annotated[int, Number, Field(ge=0, le=16)] = 0

    @field_validator("rest")
    @classmethod
    def _differs_from_grpc(cls, rest: Address, info: ValidationInfo) -> Address:
        if rest.port and rest == info.data.get("grpc"):
            raise refused("must not be the address of listen.grpc")
        return rest


class Tls(Section):
    """The certificate that both listeners show, and the authorities of callers' certificates, if those count."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    require_client_certificate: bool = True


class Store(Section):
    """Where the rows of hosted containers are."""

    url: StoreUrl | None = None


class Blobs(Section):
    """Where the bytes of hosted files are."""

    url: BlobsUrl | None = None


class UpstreamKey(Section):
    """A key of Berth's own at a provider. Of several, each is used as often as its weight says."""

    name: Name
    value: HeaderSecret
    weight: Annotated[float, Field(gt=0, le=1_000_000)] = 1.0
    max_in_flight: Count | None = None


class ProviderSettings(Section):
    """Who keeps a provider's containers, and how to reach it."""

    backend: Literal["hosted", "unsupported", "openai", "azure"]
    base_url: Annotated[BaseUrl | None, Field(validate_default=True)] = None
    keys: Annotated[tuple[UpstreamKey, ...] | None, Field(validate_default=True)] = None
    timeout_seconds: Seconds = 30.0
    max_retries: Retries = 2
    extra_headers: dict[str, HeaderSecret] = Field(default_factory=dict)
    proxy: BaseUrl | None = None
    ca_file: Path | None = None
    api_version: Name | None = None
    cache_seconds: Count | None = None
    honours_idempotency_keys: bool = False
    unknown_fields: Literal["forward", "refuse"] = "forward"

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
    default_minutes: Annotated[Count, Field(validate_default=True)] = 20
    retention_hours: Count = 24
    max_file_bytes: Bytes = 536_870_912
    max_container_bytes: Bytes = 4_294_967_296
    max_tenant_bytes: Bytes = 2_500_000_000_000

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

    hours: Annotated[int, Number, Field(ge=1, le=8760)] = 24


class Cache(Section):
    """What is kept of providers' answers: how much, and for how long unless somebody says otherwise."""

    max_bytes: Bytes = 67_108_864
    seconds: Count = 300


class Limiting(Section):
    """Where limits are counted, and what happens while that is away."""

    url: LimitsUrl | None = None
    when_unavailable: Literal["open", "closed"] = "open"


class Cors(Section):
    """The web pages whose scripts may call; none unless said."""

    origins: tuple[Origin, ...] = ()


class Config(Section):
    """All settings. Relative paths start at the working directory."""

    listen: Listen = Listen()
    tls: Tls | None = None
    data_dir: Path = Path(".berth")
    store: Store = Store()
    blobs: Blobs = Blobs()
    default_provider: ProviderName | None = None
    providers: dict[ProviderName, ProviderSettings] = Field(default_factory=dict)
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
        return None if provider in KEEPERS else "hosted"

    def passed_through(self) -> dict[str, ProviderSettings]:
        """Return the providers that keep containers of their own, by short name.

        OpenAI's is there also where nothing is said of it, without keys: for
        callers who bring one of their own.
        """
        named = {name: settings for name, settings in self.providers.items() if settings.backend in KEEPERS}
        if "openai" not in self.providers and self.auth.allow_direct_keys:
            named["openai"] = ProviderSettings.model_construct(backend="openai", base_url=OPENAI_URL)
        return named

    def has_callers(self) -> bool:
        """Return whether any virtual key, Basic user or certificate is configured."""
        return bool(self.auth.virtual_keys or self.auth.basic_users or self.auth.certificates)
