"""The two sides of a copy: where rows come from, and where they go to."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from berth.adapters.sql.database import Row
from berth.adapters.sql.moving.tables import Table

BATCH_ROWS = 500
"""How many rows are read, and written in one transaction."""


class Snapshot(Protocol):
    """All rows at one moment."""

    async def columns(self, table: Table) -> list[str]:
        """Return the columns of the rows of a table, those of its key first."""

    def batches(self, table: Table) -> AsyncIterator[list[Row]]:
        """Yield the rows of a table in the order of their keys; texts are in the order of their code points."""

    async def last_numbers(self) -> dict[str, int]:
        """Return for each of NUMBERED the last `seq` that was given out, also to a row that is gone."""


class RowSource(Protocol):
    """A database at the current schema. All its methods raise StorageError."""

    place: str
    """How messages name it: without user and password."""

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """Keep the rows of one moment for as long as the context lasts."""


class RowTarget(RowSource, Protocol):
    """A migrated database that is being filled."""

    async def replace(self, table: Table, columns: list[str], *, removed: list[Row], added: list[Row]) -> None:
        """Remove the rows with some keys, then add rows, in one transaction."""

    async def set_last_numbers(self, numbers: dict[str, int]) -> None:
        """Let each table continue after these numbers, as far as it counts by itself."""

    async def aclose(self) -> None:
        """Release it, finished or not."""


class NewStore(RowTarget, Protocol):
    """A database that no Berth can use before it is finished, even if the copy is killed."""

    async def finish(self) -> None:
        """Let a Berth use it."""
