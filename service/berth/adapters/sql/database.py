"""Database: the port for what all Sql adapters share, on SQLite and on PostgreSQL.

The SQL is the same for both: values are `?` in the order of the arguments, or `:name`. What differs is said by the
methods of Transaction, or translated by `postgres/dialect.py`.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

_REMOVE = """
    DELETE FROM {table} WHERE seq IN
    (SELECT seq FROM {table} WHERE deleted_at IS NOT NULL AND deleted_at < ? ORDER BY deleted_at LIMIT ?)
"""
REMOVALS = [_REMOVE.format(table=table) for table in ("files", "tenant_files", "containers")]
"""What `remove_deleted` runs. Their values are the time before which the rows were deleted, and the largest number."""
Row = tuple[Any, ...]
T = TypeVar("T")


class Reader(Protocol):
    """Runs queries. No row has a text that cannot be stored, with a lone surrogate for example."""

    async def one(self, query: str, /, *values: object, **named: object) -> Row | None:
        """Return the first row of `query`, None if there is none."""

    async def value(self, query: str, /, *values: object, **named: object) -> Any:
        """Return the first column of the first row of `query`, None if there is no row."""

    async def all(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows of `query`."""


class Transaction(Reader, Protocol):
    """Runs statements that take effect together, or not at all. Locks last until the transaction ends.

    A statement that adds rows raises ConflictError if one of them is not unique, and InvalidRequestError for a text
    that cannot be stored.

    Containers are locked first, then tenants, then blobs in the order of their keys: so that no two transactions wait
    for each other. On SQLite there is one transaction at a time, and locks are none.
    """

    async def lock(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows of `query`, of one table, once no other transaction can change or delete them."""

    async def lock_only(self, query: str, /, *values: object, **named: object) -> None:
        """Do the same as `lock`, where the rows themselves do not matter."""

    async def lock_free(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Do the same as `lock`, without the rows that others have locked."""

    async def serialize(self, *names: str) -> None:
        """Wait until no other transaction that asked for the same names runs."""

    async def run(self, statement: str, /, *values: object, **named: object) -> int:
        """Run a statement; return how many rows it changed."""

    async def insert(self, statement: str, /, *values: object, **named: object) -> int:
        """Run a statement that adds a row, or changes it; return the number that it says with RETURNING."""

    async def run_many(self, statement: str, /, rows: list[Row]) -> None:
        """Run a statement once with the values of each row."""


Work = Callable[[Transaction], Coroutine[Any, Any, T]]


class Database(Reader, Protocol):
    """An open database, for use from one event loop.

    Every method raises StorageError when the database fails.
    """

    sorts_each_arm: bool
    """Whether each query in a UNION ALL has to be sorted by itself, so that the database merges them."""

    def now(self) -> float:
        """Return the time by the clock that all users of the database share, in seconds since 1970."""

    async def write(self, work: Work[T], *, frees_space: bool = False, is_durable: bool = True) -> T:
        """Run `work` as one transaction and return its result once it is durable.

        If it need not be durable, the result may be returned before. Then a failure of the power may undo it, as if it
        had never been, unless a durable transaction followed; the end of the process does not.

        An error raised by `work` is passed on, and its changes are undone. If the caller is cancelled, `work` is still
        done completely or not at all. It must wait for nothing but the database, and may run more than once: if the
        disk is full, work that `frees_space` may use the reserve; and if transactions hinder each other, one is
        repeated.
        """

    async def check(self) -> None:
        """Return once the database has answered a query, where a transaction could write; it changes nothing."""

    async def tidy(self) -> None:
        """Make sure that deleted secrets are nowhere in the files of the database, as far as it does not itself."""

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove at most `limit` rows that were deleted before a time; return how many were removed."""

    async def release_space(self) -> int:
        """Return some free space to the disk; return how many bytes, 0 if there is no more, or it does so itself."""

    async def aclose(self) -> None:
        """Finish the pending writes and close the database."""
