"""The caller of a request: its tenant, allowed providers, limits, budget and request options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from berth.core.errors import BerthError, PermissionDeniedError
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

MAX_OPTION_LENGTH = 256
"""How many characters a text may have that a caller sets in a header."""
MAX_IDEMPOTENCY_KEY_LENGTH = 255


@dataclass(frozen=True, slots=True)
class Options:
    """Options that a caller sets in headers.

    `organization` and `project` are passed to the provider. `raw_request` and `raw_response` ask
    for a copy of the provider's request and response in the answer. `cache_key` caches the answer,
    for `cache_ttl_seconds`, unless `cache_store` is False. A create with an `idempotency_key` is
    done once. `attempt` marks the resource that it creates; Berth sets it, not the caller.
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
    """The limits of a key; None means no limit.

    `operations` has further limits for kinds of operations: "read", "write", "content".
    """

    requests_per_minute: int | None = None
    max_in_flight: int | None = None
    operations: Mapping[str, "Limits"] = field(default_factory=dict)


NO_LIMITS = Limits()


class Origin(NamedTuple):
    """Where a call came from, for the audit trail: the address of its source and the id of the request."""

    source: str | None = None
    request_id: str | None = None


NO_ORIGIN = Origin()


@dataclass(frozen=True, slots=True)
class Budget:
    """What the containers of a key may cost in each period, a UTC day or month, in nano-dollars."""

    nano_usd: int
    period: Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant and the providers that it may use; `providers` None means all.

    `name` is the name of the key or user, for logs and for counting against limits. It is never a
    secret. `direct_key` is a secret: the caller's own key of a provider, which is sent unchanged to
    the provider and nowhere else.
    """

    tenant: str
    name: str
    providers: frozenset[Provider] | None = None
    direct_key: str | None = field(default=None, repr=False)
    options: Options = NO_OPTIONS
    limits: Limits = NO_LIMITS
    origin: Origin = field(default=NO_ORIGIN, compare=False, repr=False)
    budget: Budget | None = None

    def require_match(self, provider: Provider, *, named: Provider, not_found: Callable[[], BerthError]) -> None:
        """Check that the caller may access a resource of `provider`, and that no other provider was `named`.

        Raise `not_found()` if another provider was named, PermissionDeniedError if the caller may
        not use `provider`.
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
