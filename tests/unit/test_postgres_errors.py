"""What operators read of the reasons for which PostgreSQL fails, and callers of none of its own words."""

import asyncpg
import pytest

from berth.adapters.sql.postgres.errors import translate

OWN_WORDS = "relation secret"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (asyncpg.DiskFullError(OWN_WORDS), "The store's disk is full."),
        (asyncpg.ReadOnlySQLTransactionError(OWN_WORDS), "The store is read-only."),
        (asyncpg.TooManyConnectionsError(OWN_WORDS), "The store has too many connections."),
        (asyncpg.CannotConnectNowError(OWN_WORDS), "The store is starting or stopping."),
        (asyncpg.LockNotAvailableError(OWN_WORDS), "The store did not answer in time."),
        (TimeoutError(OWN_WORDS), "The store did not answer in time."),
        (ConnectionRefusedError(OWN_WORDS), "The store cannot be reached."),
        (asyncpg.InternalClientError(OWN_WORDS), "The store failed."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failure_is_a_temporary_one_with_its_reason(error: Exception, message: str) -> None:
    """Each failure of the database becomes `storage_unavailable` with a time to try again."""
    translated = translate(error)
    assert (translated.message, translated.code) == (message, "storage_unavailable")
    assert translated.retry_after_seconds == 2
