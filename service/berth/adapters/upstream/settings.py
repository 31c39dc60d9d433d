"""What is known about a provider before anything is sent to it: plain values, read from nowhere."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class UpstreamKey:
    """A key of a provider.

    `name` stands in logs and rows. New containers are shared out by `weight`;
    `max_in_flight` is how many calls may run with the key at a time.
    """

    name: str
    value: str = field(repr=False)
    weight: float = 1.0
    max_in_flight: int | None = None


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one family of APIs differs from the others.

    `prefix` is what stands between the base URL and `/containers`; a key goes
    into `key_header`, in the form `key_form`; `lacks` are the operations, by
    request type, that are refused without a call. A list of containers is never
    asked for upstream, so lacking it means nothing to callers.
    """

    prefix: str
    key_header: str
    key_form: str
    lacks: frozenset[str] = frozenset()

    def credential(self, key: UpstreamKey) -> tuple[str, str]:
        """Return the header that a call with `key` carries."""
        return self.key_header, self.key_form.format(key.value)


OPENAI = Dialect(prefix="", key_header="Authorization", key_form="Bearer {}")
AZURE = Dialect(prefix="/openai/v1", key_header="api-key", key_form="{}", lacks=frozenset({"container_list"}))


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """One provider: where it is, how it is spoken to, and how much patience it is given.

    `timeout_seconds` bounds a whole operation with all its attempts, and of a
    transfer each wait for the provider; `connect_seconds` bounds TCP and TLS of
    one connection. `ca_file` is trusted besides the system's own authorities.
    `forwards_unknown` says whether fields that the contract does not know are sent on.
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
        """The URL that the paths of the API begin with, whether or not the base URL has the prefix already."""
        return self.base_url.rstrip("/").removesuffix(self.dialect.prefix) + self.dialect.prefix
