"""Virtual keys: what one stands for, where those are kept that people make while Berth runs, and how long one is known.

A key itself is nowhere: it is compared, stored and remembered as the SHA-256 of
it. The keys are long and random, so a digest cannot be turned back, and a
look-up by digest takes a time that tells nothing about any key.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from berth.core.caller import Caller
from berth.core.errors import PermissionDeniedError

REMEMBERED_SECONDS = 2.0
"""How long a look-up is believed: a change is in force everywhere soon after."""
MAX_REMEMBERED = 10_000


def digest_of(key: str) -> bytes:
    """Return what a virtual key is known by: 32 bytes."""
    return sha256(key.encode()).digest()


@dataclass(frozen=True, slots=True)
class VirtualKey:
    """A key that was given out: whom it stands for, and whether it may be used.

    `expires_at` is the first second, since 1970, in which it may not be used any
    more; None for never.
    """

    caller: Caller
    active: bool = True
    expires_at: int | None = None

    def admit(self, now: int) -> Caller:
        """Return whom the key stands for. PermissionDeniedError (`virtual_key_blocked`) if it may not be used."""
        if not self.active:
            raise PermissionDeniedError("Virtual key is inactive", code="virtual_key_blocked")
        if self.expires_at is not None and now >= self.expires_at:
            raise PermissionDeniedError("Virtual key has expired", code="virtual_key_blocked")
        return self.caller


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """A stored key as people see it in a list; `revoked_at` is None while it is not revoked."""

    key: VirtualKey
    created_at: int
    revoked_at: int | None = None


class KeyStore(Protocol):
    """The virtual keys that are stored. Any method may raise StorageError.

    Times are seconds since 1970. A write has happened, durably, when its method
    returns, and every replica sees it.
    """

    async def find(self, digest: bytes, *, now: int) -> VirtualKey | None:
        """Return the key of a digest; None if there is none, it is revoked, or it was replaced and its time is up."""

    async def add(self, key: VirtualKey, digest: bytes, *, now: int) -> None:
        """Add a key; the name of a revoked one may be used again. InvalidRequestError if the name is in use."""

    async def entries(self) -> Sequence[KeyEntry]:
        """Return all keys by name, revoked ones too."""

    async def revoke(self, name: str, *, now: int) -> None:
        """End a key for good. NotFoundError if there is none in use."""

    async def rotate(self, name: str, digest: bytes, *, now: int, old_until: int) -> None:
        """Give a key a new digest; the old ones are good until `old_until`. NotFoundError if there is none in use."""


class RememberedKeys:
    """Looks keys up in `store`, and believes what it found for REMEMBERED_SECONDS, in bounded memory.

    So calls do not wait for the store, and its cost stays flat however many
    keys there are. `now` gives seconds since 1970, `timer` seconds of any kind.
    """

    def __init__(self, store: KeyStore, *, now: Callable[[], int], timer: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._timer = timer
        self._found: dict[bytes, tuple[float, VirtualKey | None]] = {}  # the oldest first

    async def find(self, digest: bytes) -> VirtualKey | None:
        """Return the key of a digest, None if it is not one. StorageError if nobody can tell."""
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
