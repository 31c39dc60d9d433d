"""The steps of a request with an idempotency key; the package's docstring describes the states."""

from collections.abc import Coroutine
from dataclasses import replace

from berth.core.caller import Caller
from berth.core.errors import BerthError, IdempotencyConflictError
from berth.core.idempotency.leases import LEASE_SECONDS, Leases
from berth.core.idempotency.outcomes import KEPT_ERRORS, answer_outcome, error_outcome, replayed
from berth.core.idempotency.request import KEY, Answer, KeyedCreate, key_reused
from berth.core.ports.idempotency_store import IdempotencyRecord, Slot


class IdempotencyProtocol:
    """Does a create once for each key.

    `resumes` says that an attempt without a mark can be repeated without creating
    anything twice.
    """

    def __init__(self, leases: Leases, *, resumes: bool) -> None:
        self.store = leases.store
        self._leases = leases
        self._resumes = resumes

    async def run_to_end(self, create: KeyedCreate[Answer]) -> Answer:
        """Do what `run` does, to its end even if the caller is cancelled."""
        return await self._leases.background.finish(self.run(create))

    async def run(self, create: KeyedCreate[Answer]) -> Answer:
        """Return the result of `create`, or the stored result of an earlier one."""
        record = self._leases.new_record(create.operation, create.fingerprint() if create.content.is_read else None)
        found = await self.store.acquire(create.slot, record, now=self._leases.now())
        if found is not None:
            create.require_compatible(found)
            if found.outcome is not None:
                await create.require_same(found)
                return replayed(found.outcome, create.kind)
            record = await self._taken_over(create.slot, found)
            answer = await self._created_before(create, record)
            if answer is not None:
                return answer
        return await self._create(create, record)

    async def _taken_over(self, slot: Slot, found: IdempotencyRecord) -> IdempotencyRecord:
        """Take the lease of a record that lapsed. IdempotencyConflictError while another process has it."""
        now, owner = self._leases.now(), self._leases.owner
        if found.lease_until > now:
            raise _in_progress()
        lease_until = now + LEASE_SECONDS
        if not await self.store.take_over(slot, found, owner=owner, lease_until=lease_until):
            raise _in_progress()
        return replace(found, owner=owner, lease_until=lease_until)

    async def _created_before(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> Answer | None:
        """Return and store what an earlier process has created; None if the attempt is to be made now."""
        try:
            answer = await self._leases.renewed_during(self._find(create, record))
        except BaseException:
            await self._give_up(create.slot, record, is_known=False)
            raise
        if answer is None:
            return None
        outcome = answer_outcome(answer)
        await self._finish(create.slot, record, outcome)
        return replayed(outcome, create.kind)

    async def _find(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> Answer | None:
        """Return what the attempt created. IdempotencyConflictError if something may exist without a mark."""
        answer = await create.created_by(record)
        if answer is None and not self._resumes:
            raise _outcome_unknown()
        return answer

    async def _store_fingerprint(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> None:
        """Store the fingerprint, unless the record is of another request, or another process has the lease by now."""
        fingerprint = create.fingerprint()
        if record.fingerprint not in (None, fingerprint):
            raise key_reused()
        if not await self.store.store_fingerprint(create.slot, record, fingerprint=fingerprint):
            raise _in_progress()

    async def _create(self, create: KeyedCreate[Answer], record: IdempotencyRecord) -> Answer:
        """Do the create; store its outcome. A request that was cut off before its commit created nothing."""
        may_exist = create.content.is_read

        async def before_commit() -> None:
            nonlocal may_exist
            await self._store_fingerprint(create, record)
            may_exist = True

        try:
            answer = await self._leases.renewed_during(create.create(_marked(create.caller, record), before_commit))
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
        """Release the key if nothing was created; otherwise let the next request find out.

        Where an attempt can be repeated, the next request makes the same one: an
        earlier try that broke off is part of it.
        """
        end = self.store.release if is_known and not self._resumes else self.store.abandon
        await self._complete(end(slot, record))

    async def _complete(self, work: Coroutine[object, object, None]) -> None:
        await self._leases.background.finish(work)


def _marked(caller: Caller, record: IdempotencyRecord) -> Caller:
    """Return the caller whose next create carries the mark of the attempt."""
    return replace(caller, options=replace(caller.options, attempt=record.attempt))


def _in_progress() -> IdempotencyConflictError:
    message = "A request with this idempotency key is still running."
    return IdempotencyConflictError(message, param=KEY, code="idempotency_in_progress", retry_after_seconds=1)


def _outcome_unknown() -> IdempotencyConflictError:
    message = (
        "An earlier request with this idempotency key was interrupted, and it is not known whether the provider "
        "did it. Look before you send it again, with a new key."
    )
    error = IdempotencyConflictError(message, param=KEY, code="idempotency_outcome_unknown")
    error.is_final = True
    return error
