"""Idempotency keys: a create or an upload that is done once, however often it is sent."""
