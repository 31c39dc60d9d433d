"""Idempotency: a wrapper of any Backend that does a request with a key once, however often it is sent.

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
from typing import TypeVar

from berth.core.backend import Backend, Upload
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
from berth.core.observed_upload import ObservedUpload
from berth.core.wrapper import BackendWrapper
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import RetrieveContainerFileRequest
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import CreateContainerRequest, RetrieveContainerRequest

KEY = "Idempotency-Key"
Answer = TypeVar("Answer", Container, ContainerFile)


class IdempotentBackend(BackendWrapper):
    """A Backend that does what `backend` does, and a create with an idempotency key once.

    `resumes` says that an attempt which left no mark can be made again without
    making anything twice.
    """

    def __init__(self, backend: Backend, claims: Claims, *, resumes: bool) -> None:
        super().__init__(backend)
        self._claims = claims
        self._store = claims.store
        self._resumes = resumes
        self._completion = Completion()

    async def create_container(self, caller: Caller, request: CreateContainerRequest) -> Container:
        """Make a container; see Backend. With a key it is seen through, also if the caller goes away."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_container(caller, request)
        return await self._completion.of(self._create_once(caller, request, key))

    async def create_container_file(self, caller: Caller, upload: Upload) -> ContainerFile:
        """Store a file; see Backend."""
        key = caller.options.idempotency_key
        if key is None:
            return await self._backend.create_container_file(caller, upload)
        return await self._upload_once(caller, ObservedUpload(upload), key)

    async def _create_once(self, caller: Caller, request: CreateContainerRequest, key: str) -> Container:
        slot = Slot(caller.tenant, hash_of(key))
        body = request.SerializeToString(deterministic=True)
        fingerprint = fingerprint_of(key, body, *_account(caller))
        claim = self._claims.new("container_create", fingerprint)
        found = await self._store.claim(slot, claim, now=self._claims.now())
        if found is not None:
            if (found.operation, found.fingerprint) != (claim.operation, fingerprint):
                raise _reused()
            if found.outcome is not None:
                return replayed(found.outcome, Container)
            claim = await self._taken_over(slot, found)
            made = await self._store.find_container(caller.tenant, claim.attempt)
            if made is not None:
                ask = RetrieveContainerRequest(container_id=made)
                return await self._settled(slot, claim, fingerprint, self._backend.retrieve_container(caller, ask))
            await self._require_resumable(slot, claim)
        marked = _marked(caller, claim)
        return await self._done(slot, claim, lambda: fingerprint, self._backend.create_container(marked, request))

    async def _upload_once(self, caller: Caller, upload: ObservedUpload, key: str) -> ContainerFile:
        slot = Slot(caller.tenant, hash_of(key))

        def fingerprint() -> bytes:
            return fingerprint_of(key, *upload.parts(), *_account(caller))

        claim = self._claims.new(f"container_file_create {upload.container_id}", None)
        found = await self._store.claim(slot, claim, now=self._claims.now())
        if found is not None:
            if found.operation != claim.operation:
                raise _reused()
            if found.outcome is not None:
                await upload.read_through()
                if fingerprint() != found.fingerprint:
                    raise _reused()
                return replayed(found.outcome, ContainerFile)
            claim = await self._taken_over(slot, found)
            made = await self._store.find_file(caller.tenant, claim.attempt)
            if made is not None:
                return await self._found_file(slot, claim, made, caller=caller, upload=upload, fingerprint=fingerprint)
            await self._require_resumable(slot, claim)
        work = self._backend.create_container_file(_marked(caller, claim), upload)
        return await self._done(slot, claim, fingerprint, work, is_sent=lambda: upload.is_read)

    async def _found_file(
        self,
        slot: Slot,
        claim: Claim,
        made: tuple[str, str, str],
        *,
        caller: Caller,
        upload: ObservedUpload,
        fingerprint: Callable[[], bytes],
    ) -> ContainerFile:
        """Return the file that an earlier attempt made, if it is of the same content."""
        container_id, file_id, digest = made
        await upload.read_through()
        if upload.sha256 != digest:
            await self._store.abandon(slot, attempt=claim.attempt, owner=claim.owner)
            raise _reused()
        ask = RetrieveContainerFileRequest(container_id=container_id, file_id=file_id)
        return await self._settled(slot, claim, fingerprint(), self._backend.retrieve_container_file(caller, ask))

    async def _taken_over(self, slot: Slot, found: Claim) -> Claim:
        """Return a claim that lapsed as this process's own. IdempotencyConflictError while another works on it."""
        now, owner = self._claims.now(), self._claims.owner
        if found.lease_until > now:
            raise _in_progress()
        lease_until = now + LEASE_SECONDS
        if not await self._store.take_over(slot, found, owner=owner, lease_until=lease_until):
            raise _in_progress()
        return replace(found, owner=owner, lease_until=lease_until)

    async def _require_resumable(self, slot: Slot, claim: Claim) -> None:
        if not self._resumes:
            await self._store.abandon(slot, attempt=claim.attempt, owner=claim.owner)
            raise _unknown()

    async def _settled(self, slot: Slot, claim: Claim, fingerprint: bytes, work: Awaitable[Answer]) -> Answer:
        """Keep as the outcome what an earlier attempt has made."""
        try:
            answer = await work
        except BaseException:
            await self._store.abandon(slot, attempt=claim.attempt, owner=claim.owner)
            raise
        outcome = answer_outcome(answer)
        await self._finish(slot, claim, fingerprint, outcome)
        return replayed(outcome, type(answer))

    async def _done(
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
            answer = await self._claims.working(work)
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
        work = self._store.finish(
            slot, attempt=claim.attempt, owner=claim.owner, fingerprint=fingerprint, outcome=outcome
        )
        await self._completion.of(_run(work))

    async def _given_up(self, slot: Slot, claim: Claim, *, is_known: bool) -> None:
        """Free the key if nothing was made; else leave it to the next request to find out.

        Where an attempt can be made again the next request makes the same one:
        whatever became of it, or of an earlier try that broke off, is one thing.
        """
        end = self._store.release if is_known and not self._resumes else self._store.abandon
        await self._completion.of(_run(end(slot, attempt=claim.attempt, owner=claim.owner)))


async def _run(work: Awaitable[None]) -> None:
    await work


def _marked(caller: Caller, claim: Claim) -> Caller:
    return replace(caller, options=replace(caller.options, attempt=claim.attempt))


def _account(caller: Caller) -> tuple[bytes, bytes]:
    options = caller.options
    return (options.organization or "").encode(), (options.project or "").encode()


def _reused() -> InvalidRequestError:
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
