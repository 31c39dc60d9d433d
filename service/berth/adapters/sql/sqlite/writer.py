"""Runs writes to the database: one thread, one connection, several writes per commit.

A commit waits for the disk, so it runs on a separate thread, and writes that
arrive in the meantime share the next commit. Each write runs in a savepoint, so
that one that fails rolls back only its own changes.

If the disk is full, those writes that free space are repeated, on space that the
reserve kept for them.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from berth.adapters.sql.database import Work
from berth.adapters.sql.errors import closed_error
from berth.adapters.sql.sqlite.errors import is_full, translate
from berth.adapters.sql.sqlite.reserve import Reserve
from berth.adapters.sql.sqlite.tidying import checkpoint
from berth.adapters.sql.sqlite.transaction import SqliteTransaction, finish

T = TypeVar("T")
_Outcome = tuple[Any, Exception | None]


class _Job(NamedTuple):
    work: Work[Any]
    future: "Future[Any]"
    frees_space: bool
    is_durable: bool


class SqliteWriter:
    """Runs writes on `connection` in the order of their arrival; it owns the connection and the reserve."""

    def __init__(self, connection: sqlite3.Connection, reserve: Reserve) -> None:
        self._connection = connection
        self._transaction = SqliteTransaction(connection)
        self._reserve = reserve
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sql-writer")

    async def write(self, work: Work[T], *, frees_space: bool = False, is_durable: bool = True) -> T:
        """Run `work` in a transaction and return its result once it is durable, or committed if it need not be.

        An error raised by `work` is passed on, and its changes are rolled back.
        StorageError if the database fails. If the caller is cancelled, `work`
        is still done completely or not at all. If the disk is full, work that
        `frees_space` may use the reserve, and then it runs more than once.
        """
        future: Future[T] = Future()
        self._waiting.append(_Job(work, future, frees_space, is_durable))
        self._submit(self._commit_waiting)
        return await asyncio.wrap_future(future)

    async def run_alone(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` between two transactions and return its result. StorageError if the database fails."""
        try:
            return await asyncio.wrap_future(self._submit(work, self._connection))
        except sqlite3.Error as error:
            raise translate(error) from error

    async def tidy(self) -> None:
        """Empty the write-ahead log, and restore the reserve if it was used. StorageError if the database fails."""
        await self.run_alone(self._tidy)

    def close(self) -> None:
        """Finish the pending writes, then close the connection."""
        self._thread.shutdown()
        self._connection.close()

    def _submit(self, function: Callable[..., T], *values: Any) -> "Future[T]":
        try:
            return self._thread.submit(function, *values)
        except RuntimeError as error:
            raise closed_error() from error

    def _tidy(self, connection: sqlite3.Connection) -> None:
        """Empty the log, and restore the reserve afterwards: the log may need it to grow the database file."""
        while True:
            try:
                checkpoint(connection)
            except sqlite3.Error as error:
                if not is_full(error) or not self._reserve.release():
                    raise
            else:
                self._reserve.restore()
                return

    def _commit_waiting(self) -> None:
        """Run all pending writes in one transaction. Often there are none: an earlier call has run them already."""
        jobs = [job for job in self._take_waiting() if job.future.set_running_or_notify_cancel()]
        if not jobs:
            return
        outcomes = self._outcomes(jobs)
        if _without_space(jobs, outcomes):
            self._repeat_on_reserve(jobs, outcomes)
        for job, outcome in zip(jobs, outcomes, strict=True):
            _settle(job.future, outcome)

    def _take_waiting(self) -> list[_Job]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _repeat_on_reserve(self, jobs: list[_Job], outcomes: list[_Outcome]) -> None:
        """Repeat the writes that free space, and replace their outcomes, until they succeed or the reserve is empty."""
        while (failed := _without_space(jobs, outcomes)) and self._reserve.release():
            repeated = self._outcomes([jobs[index] for index in failed])
            for index, outcome in zip(failed, repeated, strict=True):
                outcomes[index] = outcome
        with suppress(sqlite3.Error):  # the next `tidy` tries it again
            self._tidy(self._connection)

    def _outcomes(self, jobs: list[_Job]) -> list[_Outcome]:
        """Run jobs in one transaction; return the outcome of each."""
        try:
            with self._synchronous(is_full=any(job.is_durable for job in jobs)):
                return self._transact([job.work for job in jobs])
        except Exception as error:  # noqa: BLE001 - every error is passed on to the callers
            return [(None, error)] * len(jobs)

    @contextmanager
    def _synchronous(self, *, is_full: bool) -> Iterator[None]:
        """Have commits wait for the disk, or not: which takes longer than all else that a small one does."""
        if is_full:
            yield
            return
        self._connection.execute("PRAGMA synchronous = NORMAL")
        try:
            yield
        finally:
            self._connection.execute("PRAGMA synchronous = FULL")

    def _transact(self, works: list[Work[Any]]) -> list[_Outcome]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._run_in_savepoint(work) for work in works]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return outcomes

    def _run_in_savepoint(self, work: Work[Any]) -> _Outcome:
        """Run `work` in a savepoint. An error that ended the whole transaction is raised: all its writes failed."""
        self._connection.execute("SAVEPOINT work")
        try:
            outcome: _Outcome = (finish(work(self._transaction)), None)
        except Exception as error:
            if not self._connection.in_transaction:
                raise
            self._connection.execute("ROLLBACK TO work")
            outcome = (None, error)
        self._connection.execute("RELEASE work")
        return outcome


def _without_space(jobs: list[_Job], outcomes: list[_Outcome]) -> list[int]:
    """Return the indices of the jobs that would free space and failed because the disk is full."""
    pairs = zip(jobs, outcomes, strict=True)
    return [index for index, (job, (_, error)) in enumerate(pairs) if job.frees_space and is_full(error)]


def _settle(future: "Future[Any]", outcome: _Outcome) -> None:
    result, error = outcome
    if error is None:
        future.set_result(result)
        return
    translated = translate(error)
    if translated is not error:
        translated.__cause__ = error
    future.set_exception(translated)
