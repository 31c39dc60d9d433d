"""Virtual keys: their callers, the store of issued keys, and a short-lived cache of lookups.

A key is compared, stored and cached only as its SHA-256 digest. Keys are long and random, so a
digest cannot be reversed, and the duration of a lookup by digest reveals nothing about any key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from berth.core.caller import Caller
from berth.core.errors import PermissionDeniedError

REMEMBERED_SECONDS = 2.0
"""How long the result of a lookup is cached, and so how late a change can take effect."""
MAX_REMEMBERED = 10_000
LATEST_TIME = 253_402_300_799
"""The last second of the year 9999, in seconds since 1970: no key expires later."""


def digest_of(key: str) -> bytes:
    """Return the digest that identifies a virtual key: 32 bytes."""
    return sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """An issued key: its caller, and whether it may be used.

    `expires_at` is the first second, since 1970, in which it may no longer be used; None if it does
    not expire.
    """

    caller: Caller
    active: bool = True
    expires_at: int | None = None

    def admit(self, now: int) -> Caller:
        """Return the caller of the key. PermissionDeniedError (`virtual_key_blocked`) if it may not be used."""
        if not self.active:
            raise PermissionDeniedError("Virtual key is inactive", code="virtual_key_blocked")
        if self.expires_at is not None and now >= self.expires_at:
            raise PermissionDeniedError("Virtual key has expired", code="virtual_key_blocked")
        return self.caller


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A stored key as it appears in a list; `revoked_at` is None if it is not revoked."""

    key: VirtualKey
    created_at: int
    revoked_at: int | None = None


class KeyStore(Protocol):
    """The stored virtual keys. Any method may raise StorageError.

    Times are seconds since 1970. A write is durable and visible to every replica when its method
    returns.
    """

    async def find(self, digest: bytes, *, now: int) -> VirtualKey | None:
        """Return the key with a digest; None if there is none, it is revoked, or the digest is no longer valid."""

    async def add(self, key: VirtualKey, digest: bytes, *, now: int) -> None:
        """Add a key. InvalidRequestError if the name is in use; the name of a revoked key may be used again."""

    async def entries(self) -> Sequence[KeyEntry]:
        """Return all keys by name, including revoked ones."""

    async def revoke(self, name: str, *, now: int) -> None:
        """Revoke a key permanently. NotFoundError if no key with this name is in use."""

    async def rotate(self, name: str, digest: bytes, *, now: int, old_until: int) -> None:
        """Give a key a new digest; its old digests remain valid until `old_until`.

        NotFoundError if no key with this name is in use.
        """


class RememberedKeys:
    """Looks up keys in `store` and caches the results for REMEMBERED_SECONDS, in bounded memory.

    Most calls therefore do not wait for the store, and the cost does not grow with the number of
    keys. `now` returns seconds since 1970, `timer` returns seconds from any starting point.
    """

    def __init__(self, store: KeyStore, *, now: Callable[[], int], timer: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._timer = timer
        self._found: dict[bytes, tuple[float, VirtualKey | None]] = {}  # oldest first

    async def find(self, digest: bytes) -> VirtualKey | None:
        """Return the key with a digest, None if there is none. StorageError if the store cannot be read."""
        remembered = self._found.get(digest)
        if remembered is not None and self._timer() < remembered[0]:
            return remembered[1]
        key = await self._store.find(digest, now=self._now())
        self._remember(digest, key)
        return key

    def _remember(self, digest: bytes, key: VirtualKey | None) -> None:
        self._found.pop(digest, None)
        self._found[digest] = (self._timer() + REMEMBERED_SECONDS, key)
        if len(self._found) > MAX_REMEMBERED:
            del self._found[next(iter(self._found))]
