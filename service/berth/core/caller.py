"""Who is calling, and what they ask for beside the operation itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from berth.core.errors import BerthError, PermissionDeniedError
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller asks for in headers.

    `organization` and `project` are for the provider; `raw_request` and
    `raw_response` ask for what went there and came back; `cache_key` puts the
    answer into the cache, and `cache_ttl_seconds` says for how long, unless
    `cache_store` is False. A create with an `idempotency_key` is done once;
    `attempt` marks what it makes, and is for Berth to set.
    """

    organization: str | None = None
    project: str | None = None
    raw_request: bool = False
    raw_response: bool = False
    cache_key: str | None = None
    cache_ttl_seconds: int | None = None
    cache_store: bool = True
    idempotency_key: str | None = field(default=None, repr=False)
    attempt: str | None = None


NO_OPTIONS = Options()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a key may do; None for no limit.

    `operations` are further limits for kinds of operations: "read", "write", "content".
    """

    requests_per_minute: int | None = None
    max_in_flight: int | None = None
    operations: Mapping[str, "Limits"] = field(default_factory=dict)


NO_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant, and the providers it may use; `providers` None means all.

    `name` is that of the key or user, for logs and for counting what is limited;
    it is never a secret.
    `direct_key` is: the caller's own key of a provider, which goes upstream as
    it is and nowhere else.
    """

    tenant: str
    name: str
    providers: frozenset[Provider] | None = None
    direct_key: str | None = field(default=None, repr=False)
    options: Options = NO_OPTIONS
    limits: Limits = NO_LIMITS

    def require_match(self, provider: Provider, *, named: Provider, not_found: Callable[[], BerthError]) -> None:
        """Check the `provider` of a resource: it is the one that the request named, if any, and may be used.

        Raises `not_found()` or PermissionDeniedError.
        """
        if named not in (provider, PROVIDER_UNSPECIFIED):
            raise not_found()
        self.require(provider)

    def require(self, provider: Provider) -> None:
        """Raise PermissionDeniedError (`provider_blocked`) unless the caller may use `provider`."""
        if self.providers is not None and provider not in self.providers:
            name = provider_name(provider)
            message = f"Provider '{name}' is not allowed for this virtual key"
            raise PermissionDeniedError(message, code="provider_blocked", provider=name)
