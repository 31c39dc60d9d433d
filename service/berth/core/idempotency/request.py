"""A create that carries an idempotency key: what identifies it, how it is done, and how its result is found again."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from berth.core.caller import Caller
from berth.core.errors import InvalidRequestError
from berth.core.idempotency.fingerprints import RequestContent, fingerprint_of, hash_of
from berth.core.ports.backend import BeforeCommit
from berth.core.ports.idempotency_store import IdempotencyRecord, Slot
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.file_pb2 import File

KEY = "Idempotency-Key"
Answer = TypeVar("Answer", Container, ContainerFile, File)


@dataclass(frozen=True, slots=True)
class KeyedCreate(Generic[Answer]):
    """A create of `caller` with its `key`, whose answer is of `kind`.

    `create` does it and awaits its second argument before it commits; `find`
    looks for what an attempt has created, and returns what retrieves it.
    """

    caller: Caller
    key: str
    operation: str
    kind: type[Answer]
    content: RequestContent
    find: Callable[[str], Awaitable[Callable[[], Awaitable[Answer]] | None]]
    create: Callable[[Caller, BeforeCommit], Awaitable[Answer]]

    @property
    def slot(self) -> Slot:
        """Where its record is stored."""
        return Slot(self.caller.tenant, hash_of(self.key))

    def fingerprint(self) -> bytes:
        """Return what tells it from other requests: its content, and the account at the provider."""
        options = self.caller.options
        account = (options.organization or "").encode(), (options.project or "").encode()
        return fingerprint_of(self.key, *self.content.parts(), *account)

    def require_compatible(self, found: IdempotencyRecord) -> None:
        """Raise InvalidRequestError if `found` is a record of another request, as far as is known yet."""
        if found.operation != self.operation or (self.content.is_read and found.fingerprint != self.fingerprint()):
            raise key_reused()

    async def require_same(self, found: IdempotencyRecord) -> None:
        """Read the whole request. InvalidRequestError if `found` is a record of another one."""
        await self.content.read_through()
        self.require_compatible(found)

    async def created_by(self, found: IdempotencyRecord) -> Answer | None:
        """Return what the attempt of `found` has created, if this is its request; None if there is no mark of it."""
        retrieve = await self.find(found.attempt)
        if retrieve is None:
            return None
        await self.require_same(found)
        return await retrieve()


def key_reused() -> InvalidRequestError:
    """Return the error of a key that was used for another request."""
    message = "This idempotency key was used for another request. Use a new key for each request."
    return InvalidRequestError(message, param=KEY, code="idempotency_key_reused")
