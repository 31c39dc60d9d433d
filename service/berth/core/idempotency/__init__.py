"""Idempotency keys: a create or an upload with a key is done once, however often it is sent.

A key goes through these states, in one row that all replicas share:

1. **Acquired**, durably, before anything is done: by one process, under a lease
   that the process renews while it works. A second request meanwhile is a
   conflict (409) and may be repeated.
2. **Fingerprinted**: a fingerprint of the request is stored before anything can be
   created from it. That is at once, or, for an upload, when all bytes have
   arrived; before that the upload is neither committed nor sent to its end. A
   process that has lost its lease by then stops.
3. **Finished**: the outcome is stored: the answer, or an error that would only
   come again. Every later request gets it, as long as keys are kept. Errors that
   may pass release the key, and the next request is a first one.
4. **Lapsed**: a process that dies leaves a lease that runs out. If there is no
   fingerprint, nothing was created: the next request is a first one. Otherwise it
   must be the same request. What was created is marked with the attempt's id, in the
   row of the container or file itself. If the mark is found, that resource is
   the answer. If not:

   - hosted: nothing was created, because the row is the resource. The request is
     done now, with the same attempt; if the first process is still alive, the
     mark is unique, and one of the two fails;
   - passed through to a provider that honours idempotency keys (another Berth):
     the attempt is sent there as the key, so it is safe to repeat the request
     until an answer comes;
   - passed through to any other provider: the outcome is unknown. The caller is
     told so (`idempotency_outcome_unknown`), and nothing is created silently.

The same holds for a request that lost its connection when the provider may have
received it.
"""
