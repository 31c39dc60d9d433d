"""The settings of a provider, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from berth.adapters.upstream.dialects import Dialect

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """A key of a provider.

    `name` identifies the key in logs and rows. New resources are distributed by `weight`;
    `max_in_flight` is how many calls may use the key at a time. A key with a `tenant` is used for
    that tenant alone. `is_callers` says that the key came with the request.
    """

    name: str
    value: str = field(repr=False)
    weight: float = 1.0
    max_in_flight: int | None = None
    tenant: str | None = None
    is_callers: bool = False


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """The settings of one provider: its address, dialect, keys, timeouts and limits.

    `timeout_seconds` limits a whole operation with all its tries, and in a
    transfer each wait for the provider; `connect_seconds` limits TCP and TLS of
    one connection. `authorities` (PEM) are trusted in addition to those of the system.
    `forwards_unknown` is whether fields that the contract does not define are sent on.
    A tenant may have half of `max_connections`.
    `opens_unknown` is whether all tenants may reach what Berth does not know in the shared account.
    """

    base_url: str
    dialect: Dialect
    keys: tuple[UpstreamKey, ...] = ()
    timeout_seconds: float = 30
    connect_seconds: float = 5
    max_retries: int = 2
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    authorities: str | None = None
    api_version: str | None = None
    max_connections: int = 200
    max_answer_bytes: int = 16 * MIB
    forwards_unknown: bool = True
    opens_unknown: bool = False

    @property
    def root(self) -> str:
        """The base URL with the prefix of the dialect, whether or not the base URL has it already."""
        return self.base_url.rstrip("/").removesuffix(self.dialect.prefix) + self.dialect.prefix
