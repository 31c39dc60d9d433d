"""ObservedDatabase: measures how long a Database takes, and traces what it is asked."""

from time import perf_counter
from types import TracebackType
from typing import Any, TypeVar

from berth.adapters.sql.database import Database, Row, Work
from berth.adapters.sql.observed.statements import summary_of
from berth.core.observation.spans import NO_SPAN, Kind, Span, Tracer, is_failure
from berth.core.ports.metrics import Metrics

READ, WRITE = "read", "write"
"""The operations that are measured: one query, or one transaction with its commit."""
_TRANSACTION = "TRANSACTION"
T = TypeVar("T")


class ObservedDatabase:
    """Implements Database on `database`, which is of `system`, as OpenTelemetry names it: sqlite or postgresql."""

    def __init__(self, database: Database, metrics: Metrics, tracer: Tracer, *, system: str) -> None:
        self._database = database
        self._metrics = metrics
        self._tracer = tracer
        self._system = {"db.system.name": system}
        self.sorts_each_arm = database.sorts_each_arm
        self.now = database.now
        self.check = database.check
        self.tidy = database.tidy
        self.release_space = database.release_space
        self.aclose = database.aclose

    async def one(self, query: str, /, *values: object, **named: object) -> Row | None:
        """Return the first row of `query`; see Reader."""
        with self._read(query):
            return await self._database.one(query, *values, **named)

    async def value(self, query: str, /, *values: object, **named: object) -> Any:
        """Return the first column of the first row of `query`; see Reader."""
        with self._read(query):
            return await self._database.value(query, *values, **named)

    async def all(self, query: str, /, *values: object, **named: object) -> list[Row]:
        """Return all rows of `query`; see Reader."""
        with self._read(query):
            return await self._database.all(query, *values, **named)

    async def write(self, work: Work[T], *, frees_space: bool = False, is_durable: bool = True) -> T:
        """Run `work` as one transaction; see Database."""
        with self._measured(WRITE, _TRANSACTION, _TRANSACTION):
            return await self._database.write(work, frees_space=frees_space, is_durable=is_durable)

    async def remove_deleted(self, *, deleted_before: int, limit: int) -> int:
        """Remove rows that were deleted before a time; see Database."""
        with self._measured(WRITE, _TRANSACTION, _TRANSACTION):
            return await self._database.remove_deleted(deleted_before=deleted_before, limit=limit)

    def _read(self, query: str) -> "_Measured":
        if not self._tracer.is_recording():
            return _Measured(self._metrics, READ, NO_SPAN)
        return self._measured(READ, *summary_of(query))

    def _measured(self, kind: str, summary: str, operation: str) -> "_Measured":
        attributes = {**self._system, "db.operation.name": operation, "db.query.summary": summary}
        return _Measured(self._metrics, kind, self._tracer.part(summary, attributes, kind=Kind.CLIENT))


class _Measured:
    """Measures what happens in its context."""

    __slots__ = ("_metrics", "_operation", "_span", "_started")

    def __init__(self, metrics: Metrics, operation: str, span: Span) -> None:
        self._metrics = metrics
        self._operation = operation
        self._span = span
        self._started = perf_counter()

    def __enter__(self) -> None:
        self._span.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._span.__exit__(kind, error, traceback)
        seconds = perf_counter() - self._started
        self._metrics.store_ended(self._operation, failed=is_failure(error), seconds=seconds)
