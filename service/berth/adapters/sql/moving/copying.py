"""RowCopy: makes the rows of one database the same as those of another.

Both sides are read in the order of their keys, and only what differs is written. So a copy that was killed continues
where it was, and one with a source that has changed since then becomes right, too.
"""

from collections.abc import AsyncIterator
from typing import NamedTuple

from berth.adapters.sql.database import Row
from berth.adapters.sql.moving.sides import BATCH_ROWS, RowSource, RowTarget, Snapshot
from berth.adapters.sql.moving.tables import NEVER_REUSED, TABLES, Table


class Compared(NamedTuple):
    """How many rows a table of the source has, and how many rows differ or are on one side only."""

    table: str
    rows: int
    differences: int


class RowCopy:
    """Copies the rows of `source` into `target`."""

    def __init__(self, source: RowSource, target: RowTarget) -> None:
        self._source = source
        self._target = target

    async def run(self) -> None:
        """Copy all rows, and the last numbers of the tables."""
        async with self._source.snapshot() as wanted, self._target.snapshot() as present:
            for table in TABLES:
                await self._copy(table, wanted, present)
            await self._target.set_last_numbers(await wanted.last_numbers())

    async def compare(self) -> list[Compared]:
        """Compare all rows, of a new moment on both sides, and the last numbers: a missing one is a difference."""
        async with self._source.snapshot() as wanted, self._target.snapshot() as present:
            compared = [await _compare(table, wanted, present) for table in TABLES]
            wanted_numbers, numbers = await wanted.last_numbers(), await present.last_numbers()
        behind = {table for table in NEVER_REUSED if numbers[table] < wanted_numbers[table]}
        return [each._replace(differences=each.differences + 1) if each.table in behind else each for each in compared]

    async def _copy(self, table: Table, wanted: Snapshot, present: Snapshot) -> None:
        columns, width = await wanted.columns(table), len(table.key)
        removed: list[Row] = []
        added: list[Row] = []
        async for new, old in _pairs(wanted.batches(table), present.batches(table), width):
            if new == old:
                continue
            if old is not None:
                removed.append(old[:width])
            if new is not None:
                added.append(new)
            if len(removed) + len(added) >= BATCH_ROWS:
                await self._target.replace(table, columns, removed=removed, added=added)
                removed, added = [], []
        if removed or added:
            await self._target.replace(table, columns, removed=removed, added=added)


async def _compare(table: Table, wanted: Snapshot, present: Snapshot) -> Compared:
    rows = differences = 0
    async for new, old in _pairs(wanted.batches(table), present.batches(table), len(table.key)):
        rows += new is not None
        differences += new != old
    return Compared(table.name, rows, differences)


async def _pairs(
    wanted: AsyncIterator[list[Row]], present: AsyncIterator[list[Row]], width: int
) -> AsyncIterator[tuple[Row | None, Row | None]]:
    """Yield the rows of both sides that have the same key, the first `width` values; None for one that is missing."""
    news, olds = _rows(wanted), _rows(present)
    new, old = await anext(news, None), await anext(olds, None)
    while new is not None or old is not None:
        has_new = old is None or (new is not None and new[:width] <= old[:width])
        has_old = new is None or (old is not None and old[:width] <= new[:width])
        yield new if has_new else None, old if has_old else None
        if has_new:
            new = await anext(news, None)
        if has_old:
            old = await anext(olds, None)


async def _rows(batches: AsyncIterator[list[Row]]) -> AsyncIterator[Row]:
    async for batch in batches:
        for row in batch:
            yield row
