"""Translates errors of PostgreSQL and of the connection to it into errors for the caller.

The database's own message stays in the exception's cause: it may contain names and values, which callers must not see.
"""

import ssl

import asyncpg

from berth.adapters.sql.errors import UNAVAILABLE, ConflictError, unavailable
from berth.core.errors import StorageError

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, ssl.SSLError)
"""What any call to the database may raise; TimeoutError is an OSError."""
_HINDERED = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)
_REASONS: tuple[tuple[type[BaseException], str], ...] = (
    (asyncpg.DiskFullError, "The store's disk is full."),
    (asyncpg.TooManyConnectionsError, "The store has too many connections."),
    (asyncpg.ReadOnlySQLTransactionError, "The store is read-only."),
    (asyncpg.InsufficientPrivilegeError, "Access to the store was denied."),
    (asyncpg.InvalidAuthorizationSpecificationError, "Access to the store was denied."),
    (asyncpg.InvalidCatalogNameError, "The store's database does not exist."),
    (asyncpg.CannotConnectNowError, "The store is starting or stopping."),
    (asyncpg.AdminShutdownError, "The store is stopping."),
    (asyncpg.QueryCanceledError, "The store did not answer in time."),
    (asyncpg.LockNotAvailableError, "The store did not answer in time."),
    (TimeoutError, "The store did not answer in time."),
    (ssl.SSLError, "The connection to the store cannot be encrypted, or its certificate is not trusted."),
    (OSError, "The store cannot be reached."),
    (asyncpg.PostgresConnectionError, "The connection to the store was lost."),
    (asyncpg.InterfaceError, "The connection to the store was lost."),
)


def translate(error: BaseException) -> StorageError:
    """Return the error to raise to the caller for one of FAILURES or a ConflictError."""
    return unavailable(reason(error))


def reason(error: BaseException) -> str:
    """Return why the database failed, without any of its own words."""
    if type(error) is ConnectionError:  # of the driver, if the server refuses to encrypt
        return "The store offers no TLS."
    return next((text for kind, text in _REASONS if isinstance(error, kind)), "The store failed.")


def open_error(place: str, why: str) -> StorageError:
    """Return the error, for the operator, of a database that cannot be opened."""
    return StorageError(f"Cannot open the store {place}: {why}", code=UNAVAILABLE)


def is_hindered(error: BaseException) -> bool:
    """Return whether a transaction was undone only because of another one, so that it can be repeated."""
    return isinstance(error, _HINDERED)


def is_usable_after(error: BaseException) -> bool:
    """Return whether the connection can be used on after an error of a statement."""
    broken = (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InternalClientError)
    return isinstance(error, asyncpg.PostgresError | ConflictError) and not isinstance(error, broken)
