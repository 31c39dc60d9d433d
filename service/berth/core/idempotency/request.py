"""A create that carries an idempotency key: what is asked for, and how it is done, found again and told."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from berth.core.caller import Caller
from berth.core.errors import InvalidRequestError
from berth.core.idempotency.records import Claim, Slot, fingerprint_of, hash_of
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.file_pb2 import File

KEY = "Idempotency-Key"
Answer = TypeVar("Answer", Container, ContainerFile, File)
Made = TypeVar("Made")
AtEnd = Callable[[], Awaitable[None]]


async def nothing() -> None:
    """Do nothing."""


class Asked(Protocol):
    """What is asked for: Known, or an upload (see `observed_upload`), of which nobody knows it until it is read.

    `at_end` is awaited when all has passed, and before anybody is told so: whoever
    stores an upload whole stores nothing before, and nothing at all if it raises.
    """

    at_end: AtEnd

    @property
    def is_read(self) -> bool:
        """Whether all of it has passed."""

    def parts(self) -> list[bytes]:
        """Return all that makes it what it is; final once it is read."""

    async def read_through(self) -> None:
        """Read all that there is to read and keep none."""


class Known:
    """What is known at once; see Asked."""

    is_read = True

    def __init__(self, body: bytes) -> None:
        self.at_end: AtEnd = nothing
        self._body = body

    def parts(self) -> list[bytes]:
        """Return all that makes it what it is."""
        return [self._body]

    async def read_through(self) -> None:
        """Read nothing more."""


@dataclass(frozen=True, slots=True)
class KeyedCreate(Generic[Made, Answer]):
    """A create of `caller` with its `key`, whose answer is of `kind`.

    `create` does it; `find` returns what an attempt has made, and `retrieve` that as an answer.
    """

    caller: Caller
    key: str
    operation: str
    kind: type[Answer]
    asked: Asked
    find: Callable[[str], Awaitable[Made | None]]
    retrieve: Callable[[Made], Awaitable[Answer]]
    create: Callable[[Caller], Awaitable[Answer]]

    @property
    def slot(self) -> Slot:
        """Where its claim is."""
        return Slot(self.caller.tenant, hash_of(self.key))

    def fingerprint(self) -> bytes:
        """Return what tells it from others: of what is asked for, and in whose account at the provider."""
        options = self.caller.options
        account = (options.organization or "").encode(), (options.project or "").encode()
        return fingerprint_of(self.key, *self.asked.parts(), *account)

    def require_alike(self, found: Claim) -> None:
        """Make sure that `found` is a claim of this request, as far as that is known by now."""
        if found.operation != self.operation or (self.asked.is_read and found.fingerprint != self.fingerprint()):
            raise reused()

    async def require_same(self, found: Claim) -> None:
        """Read what there is to read, and make sure that `found` is a claim of this very request."""
        await self.asked.read_through()
        self.require_alike(found)

    async def made_by(self, found: Claim) -> Answer | None:
        """Return what the attempt of `found` has made, if this is its request; None if it left no mark."""
        made = await self.find(found.attempt)
        if made is None:
            return None
        await self.require_same(found)
        return await self.retrieve(made)


def reused() -> InvalidRequestError:
    """Return the error of a key that was used for another request."""
    message = "This idempotency key was used for another request. Use a new key for each request."
    return InvalidRequestError(message, param=KEY, code="idempotency_key_reused")
