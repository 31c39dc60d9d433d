"""IdempotencyStore: the port for the records of requests with an idempotency key."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol


class Slot(NamedTuple):
    """The place of a record: a tenant, and `key`, the SHA-256 of the idempotency key that the caller sent."""

    tenant: str
    key: bytes


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """A request with an idempotency key that is in progress or finished.

    `operation` is what it does; `fingerprint` identifies its content once that is known, and
    nothing is created before; `attempt` marks the resource that it creates; `owner` is the process
    that works on it and has the lease until `lease_until`; `outcome` is the stored result. Times
    are seconds since 1970.
    """

    operation: str
    attempt: str
    owner: str
    lease_until: int
    expires_at: int
    fingerprint: bytes | None = None
    outcome: bytes | None = None

    def is_over(self, now: int) -> bool:
        """Return whether its key is free again: it expired, or its lease ended before anything could be created."""
        return self.expires_at <= now or (self.fingerprint is None and self.lease_until <= now)


class IdempotencyStore(Protocol):
    """The records of all replicas. A write is durable when its method returns; any method may raise StorageError."""

    async def acquire(self, slot: Slot, record: IdempotencyRecord, *, now: int) -> IdempotencyRecord | None:
        """Store `record` in the slot and return None, or return the record that is there and not over at `now`."""

    async def take_over(self, slot: Slot, found: IdempotencyRecord, *, owner: str, lease_until: int) -> bool:
        """Give the lease of a record to `owner` if it is still as `found`; return whether it was given."""

    async def store_fingerprint(self, slot: Slot, record: IdempotencyRecord, *, fingerprint: bytes) -> bool:
        """Store the fingerprint in a record if its owner still has the lease; return whether it was stored."""

    async def finish(self, slot: Slot, record: IdempotencyRecord, *, outcome: bytes) -> None:
        """Store the outcome of a record if its owner still has the lease."""

    async def release(self, slot: Slot, record: IdempotencyRecord) -> None:
        """Remove a record if its owner still has the lease: nothing was created, and the request may be repeated."""

    async def abandon(self, slot: Slot, record: IdempotencyRecord) -> None:
        """End the lease of a record if its owner still has it: the next request finds out what was created."""

    async def renew(self, owner: str, attempts: Sequence[str], *, lease_until: int) -> None:
        """Extend the leases that `owner` still has on the unfinished records of some attempts."""

    async def find_container(self, tenant: str, attempt: str) -> str | None:
        """Return the id of the container that an attempt created, even if it was deleted; None if there is none."""

    async def find_container_file(self, tenant: str, attempt: str) -> tuple[str, str] | None:
        """Return the ids of the container and the container file that an attempt created, None if there is none."""

    async def find_file(self, tenant: str, attempt: str) -> str | None:
        """Return the id of the file that an attempt created, None if there is none."""
