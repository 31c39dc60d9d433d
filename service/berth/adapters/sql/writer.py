"""Writes to the database: one thread, one connection, shared commits.

A commit waits for the disk, so it happens on a thread of its own, and writes
that arrive meanwhile share the next one. Each is inside a savepoint, so that
one which fails takes back its own changes only. What is written is decided by
the callables that are handed in.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from berth.adapters.sql.errors import closed_error, translated

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
_Job = tuple[Work[Any], "Future[Any]"]
_Outcome = tuple[Any, Exception | None]


class SqlWriter:
    """Runs writes on `connection`, which is its own from now on, in the order they come."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._waiting: deque[_Job] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sql-writer")

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once it is durable.

        An error out of `work` passes through and nothing of it is written.
        StorageError if the database fails. If the caller is cancelled, `work`
        has been done whole or not at all.
        """
        future: Future[T] = Future()
        self._waiting.append((work, future))
        try:
            self._thread.submit(self._commit_waiting)
        except RuntimeError as error:
            raise closed_error() from error
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Finish the writes that wait, then close the connection."""
        self._thread.shutdown()
        self._connection.close()

    def _commit_waiting(self) -> None:
        """Do everything that waits in one transaction; usually an earlier call has done it all."""
        jobs = [job for job in self._take_waiting() if job[1].set_running_or_notify_cancel()]
        if not jobs:
            return
        try:
            outcomes = self._transact([work for work, _ in jobs])
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to the callers
            outcomes = [(None, error)] * len(jobs)
        for (_, future), outcome in zip(jobs, outcomes, strict=True):
            _settle(future, outcome)

    def _take_waiting(self) -> list[_Job]:
        return [self._waiting.popleft() for _ in range(len(self._waiting))]

    def _transact(self, works: list[Work[Any]]) -> list[_Outcome]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            outcomes = [self._attempt(work) for work in works]
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return outcomes

    def _attempt(self, work: Work[Any]) -> _Outcome:
        """Run `work` inside a savepoint. An error that ended the transaction itself is everybody's."""
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
    told = translated(error)
    if told is not error:
        told.__cause__ = error
    future.set_exception(told)
