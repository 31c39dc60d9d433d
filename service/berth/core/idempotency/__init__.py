"""Idempotency keys: a create or an upload with a key is executed once, however often it is sent.

A key goes through these states, in one row that all replicas share:

1. **Acquired**: before anything is done, one process acquires the key durably, with a
   lease that it renews while it works. A second request in the meantime is a
   conflict (409) and may be repeated.
2. **Fingerprinted**: a fingerprint of the request is stored before anything can be
   created from it. For an upload this happens when all bytes have arrived; before
   that the upload is neither committed nor sent completely to the provider. For any
   other request it happens at once. A process that has lost its lease by then stops.
3. **Finished**: the outcome is stored: the answer, or a permanent error. Every later
   request gets it, as long as keys are kept. A temporary error releases the key, and
   the next request starts from the beginning.
4. **Lapsed**: if a process dies, its lease expires. If there is no fingerprint,
   nothing was created, and the next request starts from the beginning. Otherwise the
   next request must be the same request. A created resource is marked with the id of
   the attempt, in the row of the container or file itself. If the mark is found, that
   resource is the answer. If not:

   - hosted backend: nothing was created, because the row is the resource. The request
     is executed now, with the same attempt. If the first process is still alive, one of
     the two fails, because marks are unique;
   - passthrough to a provider that honours idempotency keys (another Berth): the
     attempt is sent to the provider as the key, so it is safe to repeat the request
     until an answer arrives;
   - passthrough to any other provider: the outcome is unknown. The caller gets the
     error `idempotency_outcome_unknown`, and nothing is created silently.

The same applies to a request that lost its connection when the provider may have
received it.
"""
