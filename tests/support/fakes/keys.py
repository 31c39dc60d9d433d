"""The fake of the KeyStore: an ordinary class in memory that passes its contract."""

from collections.abc import Sequence
from dataclasses import replace

from berth.core.auth.virtual_keys import KeyEntry, VirtualKey
from berth.core.errors import InvalidRequestError, NotFoundError


class MemoryKeys:
    """A KeyStore in memory."""

    def __init__(self) -> None:
        self._entries: dict[str, KeyEntry] = {}
        self._digests: dict[bytes, tuple[str, int | None]] = {}

    async def find(self, digest: bytes, *, now: int) -> VirtualKey | None:
        """Return the key of a digest; see KeyStore."""
        name, valid_until = self._digests.get(digest, ("", 0))
        return self._entries[name].key if valid_until is None or now < valid_until else None

    async def add(self, key: VirtualKey, digest: bytes, *, now: int) -> None:
        """Add a key; see KeyStore."""
        name = key.caller.name
        if self._is_in_use(name):
            raise InvalidRequestError(f"There is a key '{name}' already.")
        self._entries[name] = KeyEntry(key, now)
        self._digests[digest] = (name, None)

    async def entries(self) -> Sequence[KeyEntry]:
        """Return all keys; see KeyStore."""
        return [self._entries[name] for name in sorted(self._entries)]

    async def revoke(self, name: str, *, now: int) -> None:
        """End a key; see KeyStore."""
        self._require(name)
        self._entries[name] = replace(self._entries[name], revoked_at=now)
        self._digests = {digest: found for digest, found in self._digests.items() if found[0] != name}

    async def rotate(self, name: str, digest: bytes, *, now: int, old_until: int) -> None:
        """Give a key a new digest; see KeyStore."""
        self._require(name)
        for old, (owner, until) in list(self._digests.items()):
            if owner == name and until is not None and until <= now:
                del self._digests[old]
            elif owner == name:
                self._digests[old] = (name, old_until if until is None else min(until, old_until))
        self._digests[digest] = (name, None)

    def _is_in_use(self, name: str) -> bool:
        return name in self._entries and self._entries[name].revoked_at is None

    def _require(self, name: str) -> None:
        if not self._is_in_use(name):
            raise NotFoundError(f"There is no key '{name}'.")
