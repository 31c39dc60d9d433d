"""How a request with an idempotency key is done once, however often it is sent.

A key goes through these states, in one row that all replicas share:

1. It is **claimed**, durably, before anything is done: by one process, under a
   lease that the process renews while it works. A second request meanwhile is a
   conflict (409): it may come again.
2. The outcome is **kept**: the answer, or an error that would only come again.
   Every later request gets it, for as long as keys are kept. Errors that may
   pass remove the claim, and the next request is a first one.
3. A process that dies leaves a claim whose lease **lapses**. Whatever it made is
   marked with the claim's attempt, in the row of the container or file itself.
   The next request looks for that mark. If it is there, the request was done,
   and that is the answer. If it is not:

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

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol, TypeVar

from berth.core.caller import Caller
from berth.core.claims import Claims
from berth.core.completion import Completion
from berth.core.errors import BerthError, IdempotencyConflictError, InvalidRequestError
from berth.core.idempotency import (
    KEPT_ERRORS,
    LEASE_SECONDS,
    Claim,
    Slot,
    answer_outcome,
    error_outcome,
    fingerprint_of,
    hash_of,
    replayed,
)
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.file_pb2 import File

KEY = "Idempotency-Key"
Answer = TypeVar("Answer", Container, ContainerFile, File)
Made = TypeVar("Made")


class Observed(Protocol):
    """An upload that knows what has passed of it; see ObservedUpload."""

    @property
    def is_read(self) -> bool:
        """Whether all of it has passed."""

    def parts(self) -> list[bytes]:
        """Return all that makes the upload what it is; final once it is read."""

    def is_of(self, digest: str) -> bool:
        """Tell whether what has passed has the SHA-256 `digest`; True where it has none of its own."""

    async def read_through(self) -> None:
        """Read all bytes and keep none."""


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

    async def upload(
        self,
        caller: Caller,
        upload: Observed,
        *,
        key: str,
        operation: str,
        kind: type[Answer],
        find: Callable[[str], Awaitable[tuple[Made, str] | None]],
        retrieve: Callable[[Made], Awaitable[Answer]],
        create: Callable[[Caller], Awaitable[Answer]],
    ) -> Answer:
        """Return what `create` makes of `upload`, or what it made before.

        `find` returns what an attempt has made, and its SHA-256, empty if nobody knows it; `retrieve`
        returns that as an answer of `kind`.
        """
        slot = Slot(caller.tenant, hash_of(key))

        def fingerprint() -> bytes:
            return fingerprint_of(key, *upload.parts(), *account(caller))

        claim = self.claims.new(operation, None)
        found = await self.store.claim(slot, claim, now=self.claims.now())
        if found is not None:
            if found.operation != claim.operation:
                raise reused()
            if found.outcome is not None:
                await upload.read_through()
                if fingerprint() != found.fingerprint:
                    raise reused()
                return replayed(found.outcome, kind)
            claim = await self.taken_over(slot, found)
            made = await find(claim.attempt)
            if made is not None:
                await self._require_same(slot, claim, upload, digest=made[1])
                return await self.settled(slot, claim, fingerprint(), retrieve(made[0]))
            await self.require_resumable(slot, claim)
        return await self.done(slot, claim, fingerprint, create(marked(caller, claim)), is_sent=lambda: upload.is_read)

    async def _require_same(self, slot: Slot, claim: Claim, upload: Observed, *, digest: str) -> None:
        """Make sure that what an earlier attempt made is of the same content."""
        await upload.read_through()
        if digest and not upload.is_of(digest):
            await self.store.abandon(slot, attempt=claim.attempt, owner=claim.owner)
            raise reused()

    async def taken_over(self, slot: Slot, found: Claim) -> Claim:
        """Return a claim that lapsed as this process's own. IdempotencyConflictError while another works on it."""
        now, owner = self.claims.now(), self.claims.owner
        if found.lease_until > now:
            raise _in_progress()
        lease_until = now + LEASE_SECONDS
        if not await self.store.take_over(slot, found, owner=owner, lease_until=lease_until):
            raise _in_progress()
        return replace(found, owner=owner, lease_until=lease_until)

    async def require_resumable(self, slot: Slot, claim: Claim) -> None:
        """Raise IdempotencyConflictError if an attempt that left no mark may have made something all the same."""
        if not self._resumes:
            await self.store.abandon(slot, attempt=claim.attempt, owner=claim.owner)
            raise _unknown()

    async def settled(self, slot: Slot, claim: Claim, fingerprint: bytes, work: Awaitable[Answer]) -> Answer:
        """Keep as the outcome what an earlier attempt has made."""
        try:
            answer = await work
        except BaseException:
            await self.store.abandon(slot, attempt=claim.attempt, owner=claim.owner)
            raise
        outcome = answer_outcome(answer)
        await self._finish(slot, claim, fingerprint, outcome)
        return replayed(outcome, type(answer))

    async def done(
        self,
        slot: Slot,
        claim: Claim,
        fingerprint: Callable[[], bytes],
        work: Awaitable[Answer],
        *,
        is_sent: Callable[[], bool] = lambda: True,
    ) -> Answer:
        """Return what comes of `work` and keep it, or what may be kept of its failure.

        `is_sent` tells, after a failure, whether all of the request can have
        been received: what was cut off has certainly made nothing.
        """
        try:
            answer = await self.claims.working(work)
        except KEPT_ERRORS as error:
            if is_sent():
                await self._finish(slot, claim, fingerprint(), error_outcome(error))
            else:
                await self._given_up(slot, claim, is_known=True)
            raise
        except BaseException as error:
            known = isinstance(error, BerthError) and not error.is_final
            await self._given_up(slot, claim, is_known=known or not is_sent())
            raise
        await self._finish(slot, claim, fingerprint(), answer_outcome(answer))
        return answer

    async def _finish(self, slot: Slot, claim: Claim, fingerprint: bytes, outcome: bytes) -> None:
        work = self.store.finish(
            slot, attempt=claim.attempt, owner=claim.owner, fingerprint=fingerprint, outcome=outcome
        )
        await self._completion.of(_run(work))

    async def _given_up(self, slot: Slot, claim: Claim, *, is_known: bool) -> None:
        """Free the key if nothing was made; else leave it to the next request to find out.

        Where an attempt can be made again the next request makes the same one:
        whatever became of it, or of an earlier try that broke off, is one thing.
        """
        end = self.store.release if is_known and not self._resumes else self.store.abandon
        await self._completion.of(_run(end(slot, attempt=claim.attempt, owner=claim.owner)))


async def _run(work: Awaitable[None]) -> None:
    await work


def marked(caller: Caller, claim: Claim) -> Caller:
    """Return the caller whose next work leaves the mark of `claim`."""
    return replace(caller, options=replace(caller.options, attempt=claim.attempt))


def account(caller: Caller) -> tuple[bytes, bytes]:
    """Return whose account at the provider is meant."""
    options = caller.options
    return (options.organization or "").encode(), (options.project or "").encode()


def reused() -> InvalidRequestError:
    """Return the error of a key that was used for another request."""
    message = "This idempotency key was used for another request. Use a new key for each request."
    return InvalidRequestError(message, param=KEY, code="idempotency_key_reused")


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
