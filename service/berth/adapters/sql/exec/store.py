"""SqlExecs: the ExecStore in the database of the containers."""

from collections.abc import Callable, Sequence

import orjson

from berth.adapters.sql.container_writes import find_container, touch_container
from berth.adapters.sql.database import Database, Row, Transaction
from berth.adapters.sql.errors import ConflictError, bad_cursor
from berth.adapters.sql.exec.changes import apply_changes
from berth.adapters.sql.pages import cut, start_of_list
from berth.adapters.sql.usage.counting import Owner, count_execs
from berth.core.errors import ContainerBusyError, ContainerExpiredError, StorageError
from berth.core.exec.sandbox import Outcome, Stream
from berth.core.exec.store import (
    LEASE_SECONDS,
    MAX_KEPT,
    MAX_MORE,
    NO_CHANGES,
    ExecOutput,
    ExecOwner,
    ExecSignals,
    FileChanges,
    with_files,
)
from berth.core.lifetime import last_second
from berth.core.ports.container_store import ID_TAKEN, Quotas, StoredChanges
from berth.core.ports.pages import Page, Pagination
from berth.core.usage.minutes import day_of
from berth.core.validation import container_not_found, exec_not_found
from berth.v1.exec_pb2 import Exec, ExecOutcome

_COLUMNS = "execs.id, execs.created_at, execs.isolation, execs.lease_until, execs.result, execs.session, execs.seq"
_LEASE_UNTIL, _RESULT = 3, 4
_OF_TENANT = f"""
    SELECT {_COLUMNS} FROM execs JOIN containers ON containers.seq = execs.container_seq
    WHERE containers.id = ? AND containers.tenant = ? AND containers.deleted_at IS NULL
"""  # noqa: S608 - constants
_GET = f"{_OF_TENANT} AND execs.id = ?"
_NEWEST = f"SELECT {_COLUMNS} FROM execs WHERE container_seq = ? ORDER BY seq DESC LIMIT 1"  # noqa: S608 - constants
"""Only the newest exec of a container can be running: none is started before."""
_INSERT = """
    INSERT INTO execs (id, container_seq, created_at, isolation, owner, lease_until, attempt, key_name, session)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING seq
"""
_IN_SESSION = "SELECT id FROM execs WHERE container_seq = ? AND session = ? ORDER BY seq DESC LIMIT 1"
_NEXT_OLDER = "SELECT seq FROM execs WHERE container_seq = ? ORDER BY seq DESC LIMIT 1 OFFSET ?"
_LAST_OF_SESSIONS = """
    SELECT max(seq) FROM execs WHERE container_seq = :container AND session IS NOT NULL
    GROUP BY session ORDER BY max(seq) DESC LIMIT :kept
"""
_IS_OLD = f"container_seq = :container AND seq <= :last AND seq NOT IN ({_LAST_OF_SESSIONS})"
_REMOVE_OLD = (
    f"DELETE FROM exec_output WHERE exec_seq IN (SELECT seq FROM execs WHERE {_IS_OLD})",  # noqa: S608 - constants
    f"DELETE FROM execs WHERE {_IS_OLD}",  # noqa: S608 - constants
)
_HELD = "id = ? AND owner = ? AND result IS NULL AND lease_until > ?"
_RENEW = f"UPDATE execs SET lease_until = ? WHERE {_HELD}"  # noqa: S608 - constants
_SIGNALS = f"SELECT cancelled_at FROM execs WHERE {_HELD}"  # noqa: S608 - constants
_OWN = f"SELECT seq, key_name FROM execs WHERE {_HELD}"  # noqa: S608 - constants
_PROVIDER = "SELECT provider FROM containers WHERE id = ? AND tenant = ?"
_OWN_CONTAINER = """
    SELECT containers.id, containers.tenant FROM execs JOIN containers ON containers.seq = execs.container_seq
    WHERE execs.id = ? AND containers.deleted_at IS NULL
"""
_STORE_RESULT = "UPDATE execs SET result = ? WHERE seq = ?"
_CANCEL = "UPDATE execs SET cancelled_at = ? WHERE seq = ? AND result IS NULL AND cancelled_at IS NULL"
_INSERT_OUTPUT = """
    INSERT INTO exec_output (exec_seq, sequence, events) VALUES (?, ?, ?)
    ON CONFLICT (exec_seq, sequence) DO UPDATE SET events = excluded.events
"""
"""What is added again, since no answer came the first time, may have more events by then."""
_REMOVE_OUTPUT = "DELETE FROM exec_output WHERE exec_seq = ?"
_OUTPUT = """
    SELECT events FROM exec_output WHERE exec_seq = :exec AND sequence >= coalesce(
        (SELECT max(sequence) FROM exec_output WHERE exec_seq = :exec AND sequence <= :next), 0
    ) ORDER BY sequence
"""
"""The parts of the output from the one on that may have the event `next`: each has the number of its first event."""
_FIND = """
    SELECT containers.id, execs.id FROM execs JOIN containers ON containers.seq = execs.container_seq
    WHERE execs.attempt = ? AND containers.tenant = ? AND containers.deleted_at IS NULL
"""


class SqlExecs:
    """An ExecStore in `database`; `now` gives seconds since 1970, by default those of the database."""

    def __init__(self, database: Database, *, now: Callable[[], float] | None = None) -> None:
        self._database = database
        self._now = now or database.now

    async def start(
        self, tenant: str, exec_: Exec, *, process: str, attempt: str | None, key: str, is_awaited: bool = False
    ) -> str | None:
        """Add a running exec; see ExecStore."""
        now = int(self._now())
        return await self._database.write(
            lambda transaction: _start(transaction, tenant, exec_, process=process, attempt=attempt, key=key, now=now),
            is_durable=attempt is not None or not is_awaited,
        )

    async def renew(self, owner: ExecOwner) -> ExecSignals:
        """Renew a lease; see ExecStore."""
        now = int(self._now())
        return await self._database.write(lambda transaction: _renew(transaction, owner, now=now), is_durable=False)

    async def signals(self, owner: ExecOwner) -> ExecSignals:
        """Return the signals; see ExecStore."""
        return _signals(await self._database.one(_SIGNALS, *owner, int(self._now())))

    async def append(self, owner: ExecOwner, output: Sequence[ExecOutput]) -> None:
        """Add output; see ExecStore."""
        now = int(self._now())
        await self._database.write(lambda transaction: _append(transaction, owner, output, now=now))

    async def finish(
        self,
        tenant: str,
        exec_: Exec,
        *,
        process: str,
        output: Sequence[ExecOutput],
        changes: FileChanges = NO_CHANGES,
        quotas: Quotas,
    ) -> StoredChanges:
        """Store a result; see ExecStore."""
        now, owner = int(self._now()), ExecOwner(exec_.id, process)

        async def finish(transaction: Transaction) -> StoredChanges:
            container = await find_container(transaction, tenant, container_id=exec_.container_id)
            held = await transaction.lock(_OWN, *owner, now)  # so no output is added meanwhile
            if container is None or not held:
                raise exec_not_found(exec_.container_id, exec_.id)
            ((seq, key),) = held
            stored = await apply_changes(
                transaction,
                tenant,
                container,
                container_id=exec_.container_id,
                changes=changes,
                quotas=quotas,
                now=now,
            )
            await transaction.run(_REMOVE_OUTPUT, seq)
            await _insert_output(transaction, seq, output)
            await transaction.run(_STORE_RESULT, with_files(exec_, changes, stored).SerializeToString(), seq)
            if key:
                usage = Owner(tenant, key, container.provider)
                await count_execs(transaction, usage, day=day_of(now), milliseconds=exec_.duration_ms)
            return stored

        return await self._database.write(finish)

    async def count_lost(self, tenant: str, container_id: str, *, key: str, milliseconds: int) -> None:
        """Count a lost exec; see ExecStore."""
        day = day_of(int(self._now()))

        async def count(transaction: Transaction) -> None:
            provider = await transaction.value(_PROVIDER, container_id, tenant)
            if provider is not None and key:
                await count_execs(transaction, Owner(tenant, key, provider), day=day, milliseconds=milliseconds)

        await self._database.write(count)

    async def get(self, tenant: str, container_id: str, exec_id: str) -> Exec:
        """Return an exec; see ExecStore."""
        return self._exec(await self._row(tenant, container_id, exec_id), container_id)

    async def output(self, tenant: str, container_id: str, exec_id: str, *, after: int = 0) -> Sequence[ExecOutput]:
        """Return the output of an exec; see ExecStore."""
        row = await self._database.one(_GET, container_id, tenant, exec_id)
        if row is None:
            return []
        events = [
            ExecOutput(sequence, Stream(stream), text)
            for (part,) in await self._database.all(_OUTPUT, exec=row[-1], next=after + 1)
            for sequence, stream, text in orjson.loads(part)
        ]
        return [event for event in events if event.sequence > after]

    async def list(self, tenant: str, container_id: str, pagination: Pagination) -> Page[Exec]:
        """Return a page of execs; see ExecStore."""
        seq = start_of_list(pagination)
        if pagination.after is not None:
            row = await self._database.one(_GET, container_id, tenant, pagination.after)
            if row is None:
                raise bad_cursor("exec", pagination.after)
            seq = row[-1]
        beyond, order = ("<", "DESC") if pagination.descending else (">", "ASC")
        query = f"{_OF_TENANT} AND execs.seq {beyond} ? ORDER BY execs.seq {order} LIMIT ?"
        rows, has_more = cut(
            await self._database.all(query, container_id, tenant, seq, pagination.limit + 1), pagination.limit
        )
        return Page([self._exec(row, container_id) for row in rows], has_more)

    async def cancel(self, tenant: str, container_id: str, exec_id: str) -> None:
        """Ask to end an exec; see ExecStore."""
        row, now = await self._row(tenant, container_id, exec_id), int(self._now())
        await self._database.write(lambda transaction: transaction.run(_CANCEL, now, row[-1]))

    async def find(self, tenant: str, attempt: str) -> tuple[str, str] | None:
        """Return what an attempt started; see ExecStore."""
        row = await self._database.one(_FIND, attempt, tenant)
        return (row[0], row[1]) if row else None

    async def _row(self, tenant: str, container_id: str, exec_id: str) -> Row:
        row = await self._database.one(_GET, container_id, tenant, exec_id)
        if row is None:
            raise exec_not_found(container_id, exec_id)
        return row

    def _exec(self, row: Row, container_id: str) -> Exec:
        """Return the exec of a row of _COLUMNS; one that is not held any more was lost."""
        result, lease_until = row[_RESULT], row[_LEASE_UNTIL]
        if result is not None:
            return Exec.FromString(result)
        return _lost(row, container_id) if lease_until <= int(self._now()) else _running(row, container_id)


async def _start(
    transaction: Transaction, tenant: str, exec_: Exec, *, process: str, attempt: str | None, key: str, now: int
) -> str | None:
    container = await find_container(transaction, tenant, container_id=exec_.container_id)
    if container is None:
        raise container_not_found(exec_.container_id)
    if now > last_second(container.last_active_at, container.expires_minutes):
        raise ContainerExpiredError
    newest = await transaction.one(_NEWEST, container.seq)
    if newest is not None and newest[_RESULT] is None:
        if newest[_LEASE_UNTIL] > now:
            raise ContainerBusyError
        await transaction.run(_STORE_RESULT, _lost(newest, exec_.container_id).SerializeToString(), newest[-1])
    session = exec_.session if exec_.HasField("session") else None
    before: str | None = None
    if session is not None:
        before = await transaction.value(_IN_SESSION, container.seq, session)
    lease_until = now + LEASE_SECONDS
    values = (exec_.id, container.seq, exec_.created_at, exec_.isolation, process, lease_until, attempt, key, session)
    try:
        await transaction.insert(_INSERT, *values)
    except ConflictError as error:
        raise StorageError("The command was started by an earlier attempt.", code=ID_TAKEN) from error
    if key:
        await count_execs(transaction, Owner(tenant, key, container.provider), day=day_of(now), execs=1)
    await touch_container(transaction, tenant, exec_.container_id, now=now)
    if await transaction.value(_NEXT_OLDER, container.seq, MAX_KEPT + MAX_MORE) is not None:
        last = await transaction.value(_NEXT_OLDER, container.seq, MAX_KEPT)
        for removal in _REMOVE_OLD:
            await transaction.run(removal, container=container.seq, last=last, kept=MAX_KEPT)
    return before


async def _renew(transaction: Transaction, owner: ExecOwner, *, now: int) -> ExecSignals:
    # The container is locked first, as everywhere: touching it after its exec could end in a deadlock.
    own = await transaction.one(_OWN_CONTAINER, owner.exec_id)
    if own is None:
        return _signals(None)
    container_id, tenant = own
    await touch_container(transaction, tenant, container_id, now=now)
    await transaction.run(_RENEW, now + LEASE_SECONDS, *owner, now)
    return _signals(await transaction.one(_SIGNALS, *owner, now))


def _signals(row: Row | None) -> ExecSignals:
    return ExecSignals(is_held=row is not None, is_cancelled=row is not None and row[0] is not None)


async def _append(transaction: Transaction, owner: ExecOwner, output: Sequence[ExecOutput], *, now: int) -> None:
    rows = await transaction.lock(_OWN, *owner, now)
    if rows:
        await _insert_output(transaction, rows[0][0], output)


async def _insert_output(transaction: Transaction, seq: int, output: Sequence[ExecOutput]) -> None:
    if output:
        await transaction.run(_INSERT_OUTPUT, seq, output[0].sequence, orjson.dumps([list(event) for event in output]))


def _running(row: Row, container_id: str) -> Exec:
    return Exec(
        id=row[0],
        object="container.exec",
        container_id=container_id,
        status="running",
        created_at=row[1],
        isolation=row[2],
        session=row[5],
    )


def _lost(row: Row, container_id: str) -> Exec:
    lost = _running(row, container_id)
    lost.status = "completed"
    lost.outcome.CopyFrom(ExecOutcome(type=Outcome.LOST))
    return lost
