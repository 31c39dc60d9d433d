"""The steps of a request with an idempotency key; the package's docstring describes the states."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from berth.core.caller import Caller
from berth.core.errors import BerthError, IdempotencyConflictError, InvalidRequestError
from berth.core.idempotency.fingerprints import RequestContent, fingerprint_of, hash_of
from berth.core.idempotency.leases import LEASE_SECONDS, Leases
from berth.core.idempotency.outcomes import KEPT_ERRORS, answer_outcome, error_outcome, replayed
from berth.core.ports.backend import BeforeCommit
from berth.core.ports.idempotency_store import IdempotencyRecord, Slot
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.exec_pb2 import Exec
from berth.v1.file_pb2 import File

KEY = "Idempotency-Key"
Answer = TypeVar("Answer", Container, ContainerFile, File, Exec)


@dataclass(frozen=True, slots=True)
class KeyedCreate(Generic[Answer]):
    """A create of `caller` with the idempotency `key`; its answer has the type `kind`.

    `create` executes it and awaits its second argument before the commit. `find` looks for the
    resource that an attempt created, and returns a function that retrieves it, None if there is
    none.
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
        """The slot of its record."""
        return Slot(self.caller.tenant, hash_of(self.key))

    def fingerprint(self) -> bytes:
        """Return what distinguishes it from other requests: its content, and the account at the provider."""
        options = self.caller.options
        account = (options.organization or "").encode(), (options.project or "").encode()
        return fingerprint_of(self.key, *self.content.parts(), *account)

    def require_compatible(self, found: IdempotencyRecord) -> None:
        """Raise InvalidRequestError if `found` is the record of another request, as far as is known so far."""
        if found.operation != self.operation or (self.content.is_read and found.fingerprint != self.fingerprint()):
            raise key_reused()

    async def require_same(self, found: IdempotencyRecord) -> None:
        """Read the whole request. InvalidRequestError if `found` is the record of another request."""
        await self.content.read_through()
        self.require_compatible(found)

    async def created_by(self, found: IdempotencyRecord) -> Answer | None:
        """Return the resource that the attempt of `found` created; None if nothing has its mark.

        InvalidRequestError if `found` is the record of another request.
        """
        retrieve = await self.find(found.attempt)
        if retrieve is None:
            return None
        await self.require_same(found)
        return await retrieve()


def key_reused() -> InvalidRequestError:
    """Return the error for a key that was used for another request."""
    message = "This idempotency key was used for another request. Use a new key for each request."
    return InvalidRequestError(message, param=KEY, code="idempotency_key_reused")


class IdempotencyProtocol:
    """Executes a create once per idempotency key.

    `resumes` says that an attempt without a mark can be repeated without creating anything twice.
    """

    def __init__(self, leases: Leases, *, resumes: bool) -> None:
        self.store = leases.store
        self._leases = leases
        self._resumes = resumes

    async def run_to_end(self, create: KeyedCreate[Answer]) -> Answer:
        """Do the same as `run`, and complete it even if the caller is cancelled."""
        return await self._leases.background.finish(self.run(create))

    async def run(self, create: KeyedCreate[Answer]) -> Answer:
        """Return the result of `create`, or the stored result of an earlier request with the same key."""
        record = self._leases.new_record(create.operation, create.fingerprint() if create.content.is_read else None)
        found = await self._acquire(create.slot, record)
        if found is not None:
            create.require_compatible(found)
            if found.outcome is not None:
                await create.require_same(found)
                return replayed(found.outcome, create.kind)
            record = await self._take_over(create.slot, found)
            answer = await self._recover(create, record)
            if answer is not None:
                return answer
        return await self._create(create, record)

    async def _acquire(self, slot: Slot, record: IdempotencyRecord) -> IdempotencyRecord | None:
        """Acquire a slot, or return the record that is there; wait for a lease that ends within a second.

        The caller waited as long as a refusal asked for, and the clocks of replicas differ a little.
        """
        now = self._leases.now()
        found = await self.store.acquire(slot, record, now=now)
        if found is None or found.outcome is not None or found.lease_until - now != 1:
            return found
        await self._leases.sleep(1)
        return await self.store.acquire(slot, record, now=self._leases.now())

    async def _take_over(self, slot: Slot, found: IdempotencyRecord) -> IdempotencyRecord:
        """Take over the lease of a record. IdempotencyConflictError while another process has it."""
        now, owner = self._leases.now(), self._leases.owner
        if found.lease_until > now:
            raise _in_progress(found.lease_until - now)
        lease_until = now + LEASE_SECONDS
        if not await self.store.take_over(slot, found, owner=owner, lease_until=lease_until):
            raise _in_progress()
        return replace(found, owner=owner, lease_until=lease_until)

    async def _recover(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> Answer | None:
        """Return and store what an earlier process has created; None if the create is to be executed now."""
        try:
            answer = await self._leases.renewed_during(self._find(create, record), record.attempt)
        except BaseException:
            await self._give_up(create.slot, record, is_known=False)
            raise
        if answer is None:
            return None
        outcome = answer_outcome(answer)
        await self._finish(create.slot, record, outcome)
        return replayed(outcome, create.kind)

    async def _find(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> Answer | None:
        """Return the resource that the attempt created, None if there is none.

        IdempotencyConflictError if a resource may exist although no mark was found.
        """
        answer = await create.created_by(record)
        if answer is None and not self._resumes:
            raise _outcome_unknown()
        return answer

    async def _store_fingerprint(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> None:
        """Store the fingerprint of the request.

        InvalidRequestError if the record belongs to another request; IdempotencyConflictError if
        another process has the lease by now.
        """
        fingerprint = create.fingerprint()
        if record.fingerprint not in (None, fingerprint):
            raise key_reused()
        if not await self.store.store_fingerprint(create.slot, record, fingerprint=fingerprint):
            raise _in_progress()

    async def _create(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> Answer:
        """Execute the create and store its outcome. A request that is cut off before its commit creates nothing."""
        may_exist = create.content.is_read

        async def before_commit() -> None:
            nonlocal may_exist
            await self._store_fingerprint(create, record)
            may_exist = True

        try:
            work = create.create(_with_mark(create.caller, record), before_commit)
            answer = await self._leases.renewed_during(work, record.attempt)
        except KEPT_ERRORS as error:
            if may_exist:
                await self._finish(create.slot, record, error_outcome(error))
            else:
                await self._give_up(create.slot, record, is_known=True)
            raise
        except BaseException as error:
            is_known = isinstance(error, BerthError) and not error.is_final
            await self._give_up(create.slot, record, is_known=is_known or not may_exist)
            raise
        await self._finish(create.slot, record, answer_outcome(answer))
        return answer

    async def _finish(self, slot: Slot, record: IdempotencyRecord, outcome: bytes) -> None:
        await self._complete(self.store.finish(slot, record, outcome=outcome))

    async def _give_up(self, slot: Slot, record: IdempotencyRecord, *, is_known: bool) -> None:
        """Release the key if nothing was created; otherwise leave it to the next request to find out.

        Where an attempt can be repeated, the next request continues the same attempt, and the
        interrupted try is part of it.
        """
        end = self.store.release if is_known and not self._resumes else self.store.abandon
        await self._complete(end(slot, record))

    async def _complete(self, work: Coroutine[object, object, None]) -> None:
        await self._leases.background.finish(work)


def _with_mark(caller: Caller, record: IdempotencyRecord) -> Caller:
    """Return the caller with the id of the attempt, which marks the resource that is created next."""
    return replace(caller, options=replace(caller.options, attempt=record.attempt))


def _in_progress(seconds: int = LEASE_SECONDS) -> IdempotencyConflictError:
    """Return the error for a key that another process works on; its lease ends after `seconds` if it has died."""
    message = "A request with this idempotency key is still running."
    return IdempotencyConflictError(message, param=KEY, code="idempotency_in_progress", retry_after_seconds=seconds)


def _outcome_unknown() -> IdempotencyConflictError:
    message = (
        "An earlier request with this idempotency key was interrupted, and it is not known whether the provider "
        "executed it. Check whether the resource exists before you send the request again with a new key."
    )
    error = IdempotencyConflictError(message, param=KEY, code="idempotency_outcome_unknown")
    error.is_final = True
    return error
