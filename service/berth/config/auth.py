"""The settings for authentication: keys, users, certificates, and the permissions of each."""

from typing import Literal

from pydantic import AwareDatetime, Field, field_validator

from berth.config.section import Section, require_unique
from berth.config.usage import Budget
from berth.config.values import (
    EVERY_PROVIDER,
    BasicName,
    Count,
    Name,
    ProviderNameOrAll,
    Secret,
    VirtualKeySecret,
    invalid,
)


class OperationLimits(Section):
    """Limits of a key for one kind of operation."""

    requests_per_minute: Count | None = None
    """The largest number of calls of this kind in any 60 seconds; unlimited unless set."""
    max_in_flight: Count | None = None
    """The largest number of concurrent calls of this kind; unlimited unless set."""


class VirtualKey(Section):
    """A virtual key, and what callers with it may do."""

    name: Name
    """The key's name, for the log and for limits."""
    value: VirtualKeySecret
    """The key itself: `sk-bf-` and at least one more character, best 48 random hexadecimal digits (`openssl rand -hex
    24`). If two or more follow, and only hexadecimal digits, there must be at least 48: fewer may be cut."""
    tenant: Name
    """The tenant to which the key gives access."""
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    """The providers that the key may use; `*` means all."""
    requests_per_minute: Count | None = None
    """The largest number of calls in any 60 seconds; unlimited unless set."""
    max_in_flight: Count | None = None
    """The largest number of concurrent calls; unlimited unless set."""
    operations: dict[Literal["read", "write", "content", "exec"], OperationLimits] = Field(default_factory=dict)
    """Additional limits per kind of operation: `read`, `write`, `content` (downloads), or `exec` (commands)."""
    budget: Budget | None = None
    """How much the containers of the key may cost, such as `{usd: 50, per: month}`; unlimited unless set."""
    active: bool = True
    """Whether the key may be used."""
    expires: AwareDatetime | None = None
    """When the key expires, such as `2030-01-01T00:00:00Z`; never unless set."""


class BasicUser(Section):
    """A user with a password, for HTTP Basic authentication."""

    name: BasicName
    """The user's name."""
    password: Secret
    """The user's password."""
    tenant: Name
    """The tenant to which the user has access."""
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    """The providers that the user may use; `*` means all."""


class ClientCertificate(Section):
    """A name in client certificates, and what callers with such a certificate may do."""

    san: Name
    """A subject alternative name in the certificate: a DNS name, or a URI such as a SPIFFE id."""
    name: Name
    """The caller's name in the log."""
    tenant: Name
    """The tenant to which the caller has access."""
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    """The providers that the caller may use; `*` means all."""


class Auth(Section):
    """Authentication: which callers are accepted."""

    mode: Literal["keys", "none"] = "keys"
    """`keys` requires a credential; `none` accepts every caller, as one tenant, and logs a warning at every start."""
    allow_direct_keys: bool = True
    """Whether callers may send their own key of a passthrough provider."""
    direct_key_secret: Secret | None = None
    """The secret that derives tenants from callers' own provider keys; must be the same for all replicas. Generated in
    `data_dir` unless set."""
    free_failures_per_minute: Count = 60
    """How many failed logins per minute from one address are answered without delay; further ones are delayed."""
    virtual_keys: tuple[VirtualKey, ...] = ()
    """Virtual keys. If no caller is configured, a first key is generated."""
    basic_users: tuple[BasicUser, ...] = ()
    """Users with passwords, for HTTP Basic authentication."""
    certificates: tuple[ClientCertificate, ...] = ()
    """Names in client certificates, and the tenants that they belong to."""

    @field_validator("certificates")
    @classmethod
    def _require_unique_sans(cls, certificates: tuple[ClientCertificate, ...]) -> tuple[ClientCertificate, ...]:
        require_unique([certificate.san for certificate in certificates], "san")
        return certificates

    @field_validator("virtual_keys")
    @classmethod
    def _require_unique_keys(cls, keys: tuple[VirtualKey, ...]) -> tuple[VirtualKey, ...]:
        require_unique([key.name for key in keys], "name")
        by_value: dict[str, str] = {}
        for key in keys:
            other = by_value.setdefault(key.value.get_secret_value(), key.name)
            if other != key.name:
                raise invalid(f"'{other}' and '{key.name}' have the same value")
        return keys

    @field_validator("basic_users")
    @classmethod
    def _require_unique_users(cls, users: tuple[BasicUser, ...]) -> tuple[BasicUser, ...]:
        require_unique([user.name for user in users], "name")
        return users
