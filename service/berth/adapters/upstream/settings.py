"""The settings of a provider, as plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """A key of a provider.

    `name` identifies the key in logs and rows. New resources are distributed by `weight`;
    `max_in_flight` is how many calls may use the key at a time.
    """

    name: str
    value: str = field(repr=False)
    weight: float = 1.0
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences of one family of APIs from the others.

    `prefix` is the part of the path between the base URL and `/containers`; a key
    is sent in `key_header`, formatted as `key_form`; `lacks` are the operations, by
    request type, that are refused without a call. Lists of containers are never
    requested upstream, so `container_list` in it makes no difference to callers.
    """

    prefix: str
    key_header: str
    key_form: str
    lacks: frozenset[str] = frozenset()

    def credential(self, key: UpstreamKey) -> tuple[str, str]:
        """Return the name and the value of the header with `key`."""
        return self.key_header, self.key_form.format(key.value)


OPENAI = Dialect(prefix="", key_header="Authorization", key_form="Bearer {}")
AZURE = Dialect(prefix="/openai/v1", key_header="api-key", key_form="{}", lacks=frozenset({"container_list"}))


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """The settings of one provider: its address, dialect, keys, timeouts and limits.

    `timeout_seconds` limits a whole operation with all its tries, and in a
    transfer each wait for the provider; `connect_seconds` limits TCP and TLS of
    one connection. `ca_file` is trusted in addition to the system's authorities.
    `forwards_unknown` is whether fields that the contract does not define are sent on.
    """

    base_url: str
    dialect: Dialect
    keys: tuple[UpstreamKey, ...] = ()
    timeout_seconds: float = 30
    connect_seconds: float = 5
    max_retries: int = 2
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy: str | None = field(default=None, repr=False)
    ca_file: Path | None = None
    api_version: str | None = None
    max_connections: int = 100
    max_answer_bytes: int = 16 * MIB
    forwards_unknown: bool = True

    @property
    def root(self) -> str:
        """The base URL with the prefix of the dialect, whether or not the base URL has it already."""
        return self.base_url.rstrip("/").removesuffix(self.dialect.prefix) + self.dialect.prefix
