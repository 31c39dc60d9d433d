"""The settings of providers: where their containers are kept, how to reach them, and the keys for that."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from berth.adapters.upstream.dialects import DIALECTS
from berth.config.section import Section, require_unique
from berth.config.values import BaseUrl, Count, HeaderSecret, LocalPath, Name, Number, Retries, Seconds, invalid

# These providers have containers of their own, so they are hosted only if that is configured.
PASSTHROUGH_PROVIDERS = frozenset({"openai", "azure"})
_BACKENDS = ("hosted", "unsupported", *DIALECTS)
_ABOUT_BACKENDS = f"""Where the containers are kept. `hosted`: in Berth; `unsupported`: nowhere, every operation is
rejected; all others: at a provider with that API (passthrough):
{", ".join(f"`{name}` is {dialect.about}" for name, dialect in DIALECTS.items())}.
The providers `openai` and `azure` are not configured unless set; every other provider is hosted unless set."""

OWN_KEY_NAME = "direct"
"""The name that the database has for all keys that callers send themselves."""

T = TypeVar("T")


def _known_backend(name: str) -> str:
    if name not in _BACKENDS:
        *names, last = (f"'{backend}'" for backend in _BACKENDS)
        raise invalid(f"must be {', '.join(names)} or {last}")
    return name


Backend = Annotated[
    str, AfterValidator(_known_backend), Field(description=_ABOUT_BACKENDS, json_schema_extra={"enum": [*_BACKENDS]})
]


class UpstreamKey(Section):
    """A key of Berth at a provider. Several keys are chosen by weight."""

    name: Name
    """The key's name, in the log and in the database. Containers belong to the name, not to the value."""
    value: HeaderSecret
    """The key itself."""
    weight: Annotated[float, Field(gt=0, le=1_000_000), Number] = 1.0
    """How often the key is chosen for new containers, relative to the weights of the other keys."""
    max_in_flight: Count | None = None
    """The largest number of concurrent calls with the key; unlimited unless set."""
    tenant: Name | None = None
    """The tenant that the key is reserved for: it is used for no other, and the tenant uses no key that is not. The
    account is then the tenant's own, and it can use containers that Berth did not create; see docs/security.md."""


class ProviderSettings(Section):
    """How a provider's containers are served, and how to reach the provider."""

    backend: Backend
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
    """The HTTP proxy for requests to the provider. Unless set, the variables HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and
    NO_PROXY apply, except to URLs of this machine."""
    ca_file: LocalPath | None = None
    """Authorities (PEM) that the provider's certificate is verified with, in addition to those of the system."""
    api_version: Annotated[Name | None, Field(validate_default=True)] = None
    """Azure's `api-version`, if the provider requires it, as `azure_dated` does."""
    cache_seconds: Count | None = None
    """How long responses to retrievals are cached for all callers; unless set, only for callers that ask for it."""
    honours_idempotency_keys: bool = False
    """Whether the provider processes a request with an `Idempotency-Key` only once, as another Berth does."""
    unknown_fields: Literal["forward", "refuse"] = "forward"
    """How fields that Berth does not know are handled: `forward` sends them to the provider, `refuse` answers 400."""
    unknown_containers: Literal["refuse", "shared"] = "refuse"
    """Containers and files that Berth did not create, in the account of the keys without a `tenant`: `refuse` answers
    404 without asking the provider, `shared` lets every tenant reach them, and logs a warning at start."""

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
        "unknown_containers",
    )
    @classmethod
    def _require_passthrough(cls, value: T, info: ValidationInfo) -> T:
        backend = info.data.get("backend")
        if value is not None and backend not in DIALECTS:
            raise invalid(f"cannot be set with backend '{backend}', which calls no provider")
        return value

    def url(self) -> str:
        """Return the URL of a passthrough provider."""
        return self.base_url or DIALECTS[self.backend].base_url or ""

    @field_validator("base_url")
    @classmethod
    def _require_base_url(cls, url: str | None, info: ValidationInfo) -> str | None:
        dialect = DIALECTS.get(backend := info.data.get("backend", ""))
        if dialect is None or url is not None:
            return url
        if dialect.base_url is None:
            raise invalid(f"is needed by backend '{backend}', such as {dialect.example}")
        return dialect.base_url

    @field_validator("api_version")
    @classmethod
    def _require_version(cls, version: str | None, info: ValidationInfo) -> str | None:
        dialect = DIALECTS.get(backend := info.data.get("backend", ""))
        if version is None and dialect is not None and dialect.needs_version:
            raise invalid(f"is needed by backend '{backend}', such as 2025-04-01-preview")
        return version

    @field_validator("keys")
    @classmethod
    def _require_keys(
        cls, keys: tuple[UpstreamKey, ...] | None, info: ValidationInfo
    ) -> tuple[UpstreamKey, ...] | None:
        backend = info.data.get("backend")
        if not keys and backend in DIALECTS:
            raise invalid(f"at least one is needed by backend '{backend}', such as {{name: main, value: 'env:NAME'}}")
        names = [key.name for key in keys or ()]
        require_unique(names, "name")
        if OWN_KEY_NAME in names:
            raise invalid(f"the name '{OWN_KEY_NAME}' means callers' own keys; choose another one")
        return keys
