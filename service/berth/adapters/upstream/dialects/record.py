"""Dialect: how one family of APIs differs from the others."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class Key(Protocol):
    """A key of a provider."""

    @property
    def value(self) -> str:
        """The key itself."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences of one family of APIs from the others.

    `about` describes it in the documentation of the configuration. `example` is an example of its
    base URL, and `base_url` the default, if it has one. `prefix` is the part of the path between
    the base URL and `/containers`; a key is sent in `key_header`, formatted as `key_form`;
    `needs_version` is whether every request has an `api-version` in its query. `lacks` are the
    operations, by request type, that are refused without a call; lists of an operation in it have what Berth created.
    `lacks_fields` are the fields of a create that are refused without a call. `names` has the
    JSON names of the provider, by the names of the contract, where they differ.
    """

    about: str
    example: str
    prefix: str
    key_header: str
    key_form: str
    base_url: str | None = None
    needs_version: bool = False
    lacks: frozenset[str] = frozenset()
    lacks_fields: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)

    def credential(self, key: Key) -> tuple[str, str]:
        """Return the name and the value of the header with `key`."""
        return self.key_header, self.key_form.format(key.value)

    def spell(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a JSON body with the names of the provider."""
        return _renamed(body, self.names) if self.names else body

    def read(self, value: object) -> object:
        """Return a JSON answer, or the items of a list, with the names of the contract."""
        if not self.names or not isinstance(value, dict):
            return value
        ours = {theirs: name for name, theirs in self.names.items()}
        read = _renamed(value, ours)
        if isinstance(read.get("data"), list):
            read["data"] = [_renamed(item, ours) if isinstance(item, dict) else item for item in read["data"]]
        return read


def _renamed(fields: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {names.get(name, name): value for name, value in fields.items()}
