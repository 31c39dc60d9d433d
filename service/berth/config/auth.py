"""The settings of who may call: keys, users, and what each stands for."""

from typing import Literal

from pydantic import AwareDatetime, Field, field_validator

from berth.config.section import Section, require_unique
from berth.config.values import (
    EVERY_PROVIDER,
    BasicName,
    Count,
    Name,
    ProviderNameOrAll,
    Secret,
    VirtualKeySecret,
    refused,
)


class OperationLimits(Section):
    """How much of one kind of operations a key may do."""

    requests_per_minute: Count | None = None
    """How many calls of the kind in any 60 seconds."""
    max_in_flight: Count | None = None
    """How many calls of the kind at a time."""


class VirtualKey(Section):
    """A key of Berth's own, and what it stands for."""

    name: Name
    """The key's name, for the log and for limits."""
    value: VirtualKeySecret
    """The key itself; it begins with `sk-bf-`."""
    tenant: Name
    """Whose containers and files its calls see."""
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    """The providers it may use; `*` is all."""
    requests_per_minute: Count | None = None
    """How many calls in any 60 seconds; any number unless set."""
    max_in_flight: Count | None = None
    """How many calls at a time; any number unless set."""
    operations: dict[Literal["read", "write", "content"], OperationLimits] = Field(default_factory=dict)
    """Further limits for kinds of operations; `content` is downloads."""
    active: bool = True
    """Whether it may be used."""
    expires: AwareDatetime | None = None
    """Until when it may be used, such as `2030-01-01T00:00:00Z`; for ever unless set."""


class BasicUser(Section):
    """A user and password, and what they stand for."""

    name: BasicName
    """The user's name."""
    password: Secret
    """The user's password."""
    tenant: Name
    """Whose containers and files the user's calls see."""
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    """The providers that the user may use; `*` is all."""


class ClientCertificate(Section):
    """A name in callers' certificates, and what its holder stands for."""

    san: Name
    """An alternative name in the certificate: a DNS name, or a URI such as a SPIFFE id."""
    name: Name
    """What its holder is called in the log."""
    tenant: Name
    """Whose containers and files the holder's calls see."""
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    """The providers that the holder may use; `*` is all."""


class Auth(Section):
    """Who may call. The mode `none` lets everybody in, and is warned about at every start."""

    mode: Literal["keys", "none"] = "keys"
    """`keys` asks for a credential; `none` lets everybody in, as one tenant, and warns at every start."""
    allow_direct_keys: bool = True
    """Whether callers may bring their own key of a passthrough provider."""
    direct_key_secret: Secret | None = None
    """Turns callers' own keys into tenants; the same for all replicas. Made in `data_dir` unless set."""
    free_failures_per_minute: Count = 60
    """How many wrong credentials from one address are refused at once; each further one waits."""
    virtual_keys: tuple[VirtualKey, ...] = ()
    """Berth's own keys. A first one is made where no caller is configured."""
    basic_users: tuple[BasicUser, ...] = ()
    """Users with passwords."""
    certificates: tuple[ClientCertificate, ...] = ()
    """Names in client certificates."""

    @field_validator("certificates")
    @classmethod
    def _certificates_differ(cls, certificates: tuple[ClientCertificate, ...]) -> tuple[ClientCertificate, ...]:
        require_unique([certificate.san for certificate in certificates], "san")
        return certificates

    @field_validator("virtual_keys")
    @classmethod
    def _keys_differ(cls, keys: tuple[VirtualKey, ...]) -> tuple[VirtualKey, ...]:
        require_unique([key.name for key in keys], "name")
        by_value: dict[str, str] = {}
        for key in keys:
            other = by_value.setdefault(key.value.get_secret_value(), key.name)
            if other != key.name:
                raise refused(f"'{other}' and '{key.name}' have the same value")
        return keys

    @field_validator("basic_users")
    @classmethod
    def _users_differ(cls, users: tuple[BasicUser, ...]) -> tuple[BasicUser, ...]:
        require_unique([user.name for user in users], "name")
        return users
