"""How a request with an idempotency key is done once, however often it is sent.

A key goes through these states, in one row that all replicas share:

1. It is **claimed**, durably, before anything is done: by one process, under a
   lease that the process renews while it works. A second request meanwhile is a
   conflict (409): it may come again.
2. What exactly is asked for is **noted** in the claim, as a fingerprint, before
   anything can be made of it: at once, or, of an upload, when all of it has
   passed. Nobody can store it, or have been sent it whole, before that. A process
   whose claim has gone to another one by then gets no further.
3. The outcome is **kept**: the answer, or an error that would only come again.
   Every later request gets it, for as long as keys are kept. Errors that may
   pass remove the claim, and the next request is a first one.
4. A process that dies leaves a claim whose lease **lapses**. If nothing was noted
   in it, nothing was made: the next request is a first one. Else it must be the
   same request. Whatever was made is marked with the claim's attempt, in the row of
   the container or file itself. If the mark is there, the request was done, and that
   is the answer. If it is not:

   - hosted: nothing was done, since the row is what makes a container or a file.
     The request is done now, with the same attempt; should the first process
     live after all, the mark is unique, and one of the two fails;
   - passed through to a provider that honours idempotency keys (another Berth):
     the attempt goes there as the key, so it is safe to send it again, until an
     answer comes;
   - passed through to any other provider: nobody can tell. That is said
     (`idempotency_outcome_unknown`), and nothing is ever made in silence.

The same goes for a request whose connection broke where a provider may have
had it already.
"""

from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from berth.core.background import Completion
from berth.core.caller import Caller
from berth.core.errors import BerthError, IdempotencyConflictError
from berth.core.idempotency.leases import Claims
from berth.core.idempotency.records import (
    KEPT_ERRORS,
    LEASE_SECONDS,
    Claim,
    Slot,
    answer_outcome,
    error_outcome,
    replayed,
)
from berth.core.idempotency.request import KEY, Answer, KeyedCreate, reused

Made = TypeVar("Made")


class Once:
    """Does work once for each key.

    `resumes` says that an attempt which left no mark can be made again without
    making anything twice.
    """

    def __init__(self, claims: Claims, *, resumes: bool) -> None:
        self.claims = claims
        self.store = claims.store
        self._resumes = resumes
        self._completion = Completion()

    async def do(self, create: KeyedCreate[Made, Answer]) -> Answer:
        """Return what comes of `create`, or what came of it before."""
        claim = self.claims.new(create.operation, create.fingerprint() if create.asked.is_read else None)
        found = await self.store.claim(create.slot, claim, now=self.claims.now())
        if found is not None:
            create.require_alike(found)
            if found.outcome is not None:
                await create.require_same(found)
                return replayed(found.outcome, create.kind)
            claim = await self._taken_over(create.slot, found)
            answer = await self._made_before(create, claim)
            if answer is not None:
                return answer
        create.asked.at_end = lambda: self._note(create, claim)
        return await self._done(create, claim)

    async def _taken_over(self, slot: Slot, found: Claim) -> Claim:
        """Return a claim that lapsed as this process's own. IdempotencyConflictError while another works on it."""
        now, owner = self.claims.now(), self.claims.owner
        if found.lease_until > now:
            raise _in_progress()
        lease_until = now + LEASE_SECONDS
        if not await self.store.take_over(slot, found, owner=owner, lease_until=lease_until):
            raise _in_progress()
        return replace(found, owner=owner, lease_until=lease_until)

    async def _made_before(self, create: KeyedCreate[Made, Answer], claim: Claim) -> Answer | None:
        """Return what an earlier process has made, and keep it; None if the attempt is to be made now."""
        try:
            answer = await self.claims.working(self._found(create, claim))
        except BaseException:
            await self._given_up(create.slot, claim, is_known=False)
            raise
        if answer is None:
            return None
        outcome = answer_outcome(answer)
        await self._finish(create.slot, claim, outcome)
        return replayed(outcome, create.kind)

    async def _found(self, create: KeyedCreate[Made, Answer], claim: Claim) -> Answer | None:
        """Return what left the claim's mark. IdempotencyConflictError if something may have been made without one."""
        answer = await create.made_by(claim)
        if answer is None and not self._resumes:
            raise _unknown()
        return answer

    async def _note(self, create: KeyedCreate[Made, Answer], claim: Claim) -> None:
        """Write into its claim what is asked for, unless it is another request's, or another process's by now."""
        fingerprint = create.fingerprint()
        if claim.fingerprint not in (None, fingerprint):
            raise reused()
        if not await self.store.note(create.slot, claim, fingerprint=fingerprint):
            raise _in_progress()

    async def _done(self, create: KeyedCreate[Made, Answer], claim: Claim) -> Answer:
        """Do it, and keep what comes of it, or what may be kept of its failure: what was cut off has made nothing."""
        try:
            answer = await self.claims.working(create.create(_marked(create.caller, claim)))
        except KEPT_ERRORS as error:
            if create.asked.is_read:
                await self._finish(create.slot, claim, error_outcome(error))
            else:
                await self._given_up(create.slot, claim, is_known=True)
            raise
        except BaseException as error:
            known = isinstance(error, BerthError) and not error.is_final
            await self._given_up(create.slot, claim, is_known=known or not create.asked.is_read)
            raise
        await self._finish(create.slot, claim, answer_outcome(answer))
        return answer

    async def _finish(self, slot: Slot, claim: Claim, outcome: bytes) -> None:
        await self._completion.of(_run(self.store.finish(slot, claim, outcome=outcome)))

    async def _given_up(self, slot: Slot, claim: Claim, *, is_known: bool) -> None:
        """Free the key if nothing was made; else leave it to the next request to find out.

        Where an attempt can be made again the next request makes the same one:
        whatever became of it, or of an earlier try that broke off, is one thing.
        """
        end = self.store.release if is_known and not self._resumes else self.store.abandon
        await self._completion.of(_run(end(slot, claim)))


async def _run(work: Awaitable[None]) -> None:
    await work


def _marked(caller: Caller, claim: Claim) -> Caller:
    """Return the caller whose next work leaves the mark of `claim`."""
    return replace(caller, options=replace(caller.options, attempt=claim.attempt))


def _in_progress() -> IdempotencyConflictError:
    message = "A request with this idempotency key is still running."
    return IdempotencyConflictError(message, param=KEY, code="idempotency_in_progress", retry_after_seconds=1)


def _unknown() -> IdempotencyConflictError:
    message = (
        "An earlier request with this idempotency key was interrupted, and nobody can tell whether the provider "
        "did it. Look before you send it again, with a new key."
    )
    error = IdempotencyConflictError(message, param=KEY, code="idempotency_outcome_unknown")
    error.is_final = True
    return error
