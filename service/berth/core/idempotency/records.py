"""What is kept of requests that carry an idempotency key: the port, and the form of an outcome.

The key itself is not kept, only a hash of it, and of the request only a
fingerprint that nobody can compute who does not have the key: so neither tells
anything about what stood in the request.
"""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from json import dumps, loads
from typing import NamedTuple, Protocol, TypeVar

from berth.core import errors
from berth.core.errors import BerthError
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.file_pb2 import File

LEASE_SECONDS = 15
"""How long a claim is believed to be worked on, unless it is renewed."""
KEPT_ERRORS = (
    errors.InvalidRequestError,
    errors.NotFoundError,
    errors.UnsupportedOperationError,
    errors.ContainerExpiredError,
)
"""Failures for good: the same request would fail again, so they are told again. All others may pass."""

_ANSWER, _ERROR = b"A", b"E"
_OF_ONE_CALL = ("latency", "upstream_latency", "raw_request", "raw_response", "cache_debug")
Answer = TypeVar("Answer", Container, ContainerFile, File)


class Slot(NamedTuple):
    """A tenant's key: where a record is kept. `key` is the SHA-256 of what the caller sent."""

    tenant: str
    key: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A request that is being done, or was done.

    `operation` says what is asked for, and `fingerprint` what exactly, once that
    is known: nothing is made before; `attempt` marks whatever is made; `owner` is the process that
    works on it, believed until `lease_until`; `outcome` is what came of it.
    Times are seconds since 1970.
    """

    operation: str
    attempt: str
    owner: str
    lease_until: int
    expires_at: int
    fingerprint: bytes | None = None
    outcome: bytes | None = None

    def is_over(self, now: int) -> bool:
        """Whether its key is as good as new: its time is over, or nothing can be made of it any more."""
        return self.expires_at <= now or (self.fingerprint is None and self.lease_until <= now)


class IdempotencyStore(Protocol):
    """The claims of all replicas. Writes are durable when their method returns; any may raise StorageError."""

    async def claim(self, slot: Slot, claim: Claim, *, now: int) -> Claim | None:
        """Put `claim` into the slot and return None, or return the claim that is there and is not over by `now`."""

    async def take_over(self, slot: Slot, found: Claim, *, owner: str, lease_until: int) -> bool:
        """Make `owner` the owner of a claim that is still as it was found; tell whether it is."""

    async def note(self, slot: Slot, claim: Claim, *, fingerprint: bytes) -> bool:
        """Write what exactly is asked for into a claim that is still its owner's; tell whether it is."""

    async def finish(self, slot: Slot, claim: Claim, *, outcome: bytes) -> None:
        """Write what came of a claim, if it is still its owner's."""

    async def release(self, slot: Slot, claim: Claim) -> None:
        """Remove a claim that is still its owner's: the request was not done and may be tried again."""

    async def abandon(self, slot: Slot, claim: Claim) -> None:
        """End the lease of a claim that is still its owner's: what became of it is for the next one to find out."""

    async def renew(self, owner: str, *, lease_until: int) -> None:
        """Extend the leases of all unfinished claims of `owner`."""

    async def find_container(self, tenant: str, attempt: str) -> str | None:
        """Return the id of the container that an attempt has made, deleted ones too; None if it made none."""

    async def find_container_file(self, tenant: str, attempt: str) -> tuple[str, str] | None:
        """Return the ids of a container and of the file that an attempt has put into it."""

    async def find_file(self, tenant: str, attempt: str) -> str | None:
        """Return the id of the file, in no container, that an attempt has made."""


def hash_of(key: str) -> bytes:
    """Return what a caller's key is kept as."""
    return sha256(key.encode()).digest()


def fingerprint_of(key: str, *parts: bytes) -> bytes:
    """Return what tells requests apart, of their `parts`, to those who have the key."""
    digest = hmac.new(key.encode(), digestmod=sha256)
    for part in parts:
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def answer_outcome(answer: Container | ContainerFile | File) -> bytes:
    """Return an answer as it is kept: without what belongs to the one call that it answered."""
    kept = type(answer).FromString(answer.SerializeToString())
    for field in _OF_ONE_CALL:
        kept.extra_fields.ClearField(field)
    return _ANSWER + kept.SerializeToString()


def error_outcome(error: BerthError) -> bytes:
    """Return an error as it is kept."""
    fields = {name: getattr(error, name) for name in ("message", "param", "code", "provider", "kind", "reason")}
    return _ERROR + dumps({"error": type(error).__name__, **fields}).encode()


def replayed(outcome: bytes, kind: type[Answer]) -> Answer:
    """Return the answer, of a `kind`, that was kept, or raise the error that was, marked as told again."""
    if outcome.startswith(_ERROR):
        raise _error(loads(outcome[1:]))
    answer = kind.FromString(outcome[1:])
    answer.extra_fields.idempotent_replayed = True
    return answer


def _error(fields: dict[str, str | None]) -> BerthError:
    kind, reason = getattr(errors, str(fields.pop("error"))), fields.pop("reason", None)
    error: BerthError = kind.__new__(kind)  # some have constructors of their own, whose arguments are not kept
    BerthError.__init__(error, str(fields.pop("message")), **fields)  # type: ignore[arg-type] # as they were kept
    error.reason, error.is_replayed = reason, True
    return error
