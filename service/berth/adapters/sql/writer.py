"""Runs writes to the database: one thread, one connection, several writes per commit.

A commit waits for the disk, so it runs on a separate thread, and writes that
arrive in the meantime share the next commit. Each write runs in a savepoint, so
that one that fails rolls back only its own changes.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from berth.adapters.sql.errors import closed_error, translate

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_Job = tuple[Work[Any], "Future[Any]"]
_Outcome = tuple[Any, Exception | None]


class SqlWriter:
    """Runs writes on `connection` in the order of their arrival; it owns the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sql-writer")

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once it is durable.

        An error raised by `work` is passed on, and its changes are rolled back.
        StorageError if the database fails. If the caller is cancelled, `work`
        is still done completely or not at all.
        """
        future: Future[T] = Future()
        self._waiting.append((work, future))
        try:
            self._thread.submit(self._commit_waiting)
        except RuntimeError as error:
            raise closed_error() from error
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish the pending writes, then close the connection."""
        self._thread.shutdown()
        self._connection.close()

    def _commit_waiting(self) -> None:
        """Run all pending writes in one transaction. Often there are none: an earlier call has run them already."""
        jobs = [job for job in self._take_waiting() if job[1].set_running_or_notify_cancel()]
        if not jobs:
            return
        try:
            outcomes = self._transact([work for work, _ in jobs])
        except Exception as error:  # noqa: BLE001 - every error is passed on to the callers
            outcomes = [(None, error)] * len(jobs)
        for (_, future), outcome in zip(jobs, outcomes, strict=True):
            _settle(future, outcome)

    def _take_waiting(self) -> list[_Job]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

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
            outcome: _Outcome = (work(self._connection), None)
        except Exception as error:
            if not self._connection.in_transaction:
                raise
            self._connection.execute("ROLLBACK TO work")
            outcome = (None, error)
        self._connection.execute("RELEASE work")
        return outcome


def _settle(future: "Future[Any]", outcome: _Outcome) -> None:
    result, error = outcome
    if error is None:
        future.set_result(result)
        return
    translated = translate(error)
    if translated is not error:
        translated.__cause__ = error
    future.set_exception(translated)
