"""The stores for containers, files, idempotency keys and virtual keys, on SQLite."""
