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
    max_in_flight: Count | None = None


class VirtualKey(Section):
    """A key of Berth's own, and what it stands for."""

    name: Name
    value: VirtualKeySecret
    tenant: Name
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)
    requests_per_minute: Count | None = None
    max_in_flight: Count | None = None
    operations: dict[Literal["read", "write", "content"], OperationLimits] = Field(default_factory=dict)
    active: bool = True
    expires: AwareDatetime | None = None


class BasicUser(Section):
    """A user and password, and what they stand for."""

    name: BasicName
    password: Secret
    tenant: Name
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)


class ClientCertificate(Section):
    """A name in callers' certificates, and what its holder stands for."""

    san: Name
    name: Name
    tenant: Name
    providers: tuple[ProviderNameOrAll, ...] = (EVERY_PROVIDER,)


class Auth(Section):
    """Who may call. The mode `none` lets everybody in, and is warned about at every start."""

    mode: Literal["keys", "none"] = "keys"
    allow_direct_keys: bool = True
    direct_key_secret: Secret | None = None
    free_failures_per_minute: Count = 60
    virtual_keys: tuple[VirtualKey, ...] = ()
    basic_users: tuple[BasicUser, ...] = ()
    certificates: tuple[ClientCertificate, ...] = ()

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
