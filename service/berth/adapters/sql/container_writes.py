"""The writes of SqlStore, each inside a transaction of the caller.

`bytes` of a container and of a tenant are the sums of their files. They are updated in the same transaction, so that
the quotas hold however many uploads end at the same time. References to blobs are counted in `blob_references`.
"""

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from berth.adapters.sql.blob_references import charge, reference_existing, reference_new, refund, release_blobs
from berth.adapters.sql.database import Row, Transaction
from berth.adapters.sql.errors import ConflictError
from berth.adapters.sql.expressions import larger
from berth.adapters.sql.rows import (
    CONTAINER_COLUMNS,
    FILE_COLUMNS,
    container_values,
    file_values,
    status_text,
)
from berth.adapters.sql.usage.meters import ADD_METERED_BYTES, METER_COLUMNS, new_meter, read_meter
from berth.adapters.sql.usage.spending import charge as charge_budget
from berth.core.errors import ContainerExpiredError, InvalidRequestError, StorageError
from berth.core.lifetime import last_second
from berth.core.ports.container_store import ID_TAKEN, ContainerFileRecord, ContainerRecord, Quotas
from berth.core.providers import provider_name
from berth.core.usage.minutes import day_of
from berth.core.validation import container_file_not_found, container_not_found, shown
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, Container

STEP_FILES = 100
"""How many files are deleted in one transaction: other writes wait for it."""
A_LEFTOVER = "SELECT min(container_seq) FROM leftovers"
"""The query for a deleted container with files that are not deleted yet, NULL if there is none."""
_COLUMNS = f"{CONTAINER_COLUMNS}, tenant, attempt, {METER_COLUMNS}"
_PLACEHOLDERS = ", ".join("?" * (_COLUMNS.count(",") + 1))
_INSERT_CONTAINER = f"INSERT INTO containers ({_COLUMNS}) VALUES ({_PLACEHOLDERS}) RETURNING seq"  # noqa: S608 - constants
_IS_TAKEN = "SELECT 1 FROM containers WHERE id = ? AND adopted_at IS NULL"
_INSERT_SECRET = "INSERT INTO domain_secrets (container_seq, domain, name, value, key_id) VALUES (?, ?, ?, ?, ?)"  # noqa: S105 - a query
_INSERT_FILE = f"INSERT INTO files (container_seq, {FILE_COLUMNS}, attempt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_CONTAINER = """
    SELECT seq, provider, bytes, last_active_at, expires_minutes, bytes_since FROM containers
    WHERE id = ? AND +tenant = ? AND provider = coalesce(?, provider) AND deleted_at IS NULL
"""
_PATH_TAKEN = "SELECT 1 FROM files WHERE container_seq = ? AND path = ? AND deleted_at IS NULL"
_FILE = "SELECT seq, bytes FROM files WHERE id = ? AND container_seq = ? AND deleted_at IS NULL"
# Lists are JSON, as in `blob_references`.
_FIRST_FILES = """
    SELECT json_group_array(seq), count(*)
    FROM (SELECT seq FROM files WHERE container_seq = ? AND deleted_at IS NULL ORDER BY seq LIMIT ?) AS first_files
"""
_ADD_BYTES = f"""
    UPDATE containers SET
    bytes = bytes + :size, last_active_at = {larger("last_active_at", ":now")}, {ADD_METERED_BYTES}
    WHERE seq = :seq
"""  # noqa: S608 - constants
_TOUCH = """
    UPDATE containers SET last_active_at = :now
    WHERE id = :id AND +tenant = :tenant AND deleted_at IS NULL
    AND last_active_at < :now AND last_active_at + expires_minutes * 60 >= :now
"""
_DELETE_FILE = "UPDATE files SET deleted_at = ? WHERE seq = ? RETURNING blob"
_SEQS = "SELECT CAST(value AS BIGINT) FROM json_each(?)"
_DELETE_FILES = f"UPDATE files SET deleted_at = ? WHERE seq IN ({_SEQS})"  # noqa: S608 - constants
_BLOBS_OF = f"SELECT json_group_array(blob) FROM files WHERE seq IN ({_SEQS})"  # noqa: S608 - constants
_ADD_LEFTOVER = "INSERT INTO leftovers (container_seq) VALUES (?) ON CONFLICT DO NOTHING"
_REMOVE_LEFTOVER = "DELETE FROM leftovers WHERE container_seq = ?"
_DELETE_CONTAINER = "UPDATE containers SET deleted_at = ?, bytes = 0 WHERE seq = ?"
_REFRESH = """
    UPDATE containers SET
    status = ?, last_active_at = ?, meter_open = CASE WHEN metered_from IS NOT NULL THEN 1 END
    WHERE id = ? AND +tenant = ? AND provider = coalesce(?, provider) AND deleted_at IS NULL RETURNING seq
"""
_EXPIRED = """
    SELECT id, tenant FROM containers
    WHERE deleted_at IS NULL AND key_name = '' AND (last_active_at + expires_minutes * 60) < ?
    ORDER BY (last_active_at + expires_minutes * 60) LIMIT ?
"""
_DELETE_SECRETS = "DELETE FROM domain_secrets WHERE container_seq = ?"
_DELETE_EXECS = (
    "DELETE FROM exec_output WHERE exec_seq IN (SELECT seq FROM execs WHERE container_seq = ?)",
    "DELETE FROM execs WHERE container_seq = ?",
)


class LockedContainer(NamedTuple):
    """A row of the query _CONTAINER."""

    seq: int
    provider: str
    bytes: int
    last_active_at: int
    expires_minutes: int
    bytes_since: int | None


async def insert_container(
    transaction: Transaction,
    record: ContainerRecord,
    *,
    secrets: Iterable[Row],
    copies: Sequence[ContainerFileRecord],
    quotas: Quotas,
    now: int,
    is_own: bool = False,
) -> None:
    """Add a container, its secrets as `secret_values` returns them, and copies of files with stored content."""
    if not is_own and await transaction.value(_IS_TAKEN, record.container.id):
        raise id_taken(record.container.id)
    meter = new_meter(record.created_by, created_at=record.container.created_at, now=now)
    values = (*container_values(record), *meter)
    if record.charge is not None:
        await charge_budget(transaction, record.charge, now=now)
    await transaction.serialize("containers", record.tenant)
    try:
        seq = await transaction.insert(_INSERT_CONTAINER, *values)
    except ConflictError as error:
        raise id_taken(record.container.id) from error
    await transaction.run_many(_INSERT_SECRET, [(seq, *secret) for secret in secrets])
    for index, copy in enumerate(copies):
        param = f"file_ids[{index}]"
        await _reserve_space(transaction, record.tenant, record=copy, quotas=quotas, now=now, param=param)
    in_order_of_locks = sorted(copies, key=lambda copy: copy.stored.blob)
    blobs = {copy.file.id: await reference_existing(transaction, copy.stored) for copy in in_order_of_locks}
    for copy in copies:
        await insert_row(transaction, seq, record=copy, blob=blobs[copy.file.id])


async def refresh_container(transaction: Transaction, tenant: str, *, container: Container, now: int) -> None:
    """Update the status and the last activity of a container, and count what is left of an expired one."""
    provider = provider_name(container.provider) if container.provider else None
    values = (status_text(container), container.last_active_at, container.id, tenant, provider)
    seq = await transaction.value(_REFRESH, *values)
    if seq is not None and container.status == CONTAINER_STATUS_EXPIRED:
        await read_meter(transaction, seq, now=now, is_over=True)


async def touch_container(transaction: Transaction, tenant: str, container_id: str, *, now: int) -> None:
    """Set the last activity of a container to `now`, unless it is expired."""
    await transaction.run(_TOUCH, now=now, id=container_id, tenant=tenant)


async def delete_container(
    transaction: Transaction,
    tenant: str,
    *,
    container_id: str,
    deleted_at: int,
    provider: str | None = None,
    max_files: int = STEP_FILES,
) -> list[str]:
    """Delete a container, its secrets and at most `max_files` of its files; return the blobs to delete.

    The rows of the secrets and execs are removed; those of the container and its files are only marked as deleted.
    Files beyond `max_files` are left over for `delete_leftovers`, and cannot be found any more.
    """
    container = await _container(transaction, tenant, container_id=container_id, provider=provider)
    await refund(transaction, tenant, container.bytes)
    for removal in (_DELETE_SECRETS, *_DELETE_EXECS):
        await transaction.run(removal, container.seq)
    await transaction.run(_DELETE_CONTAINER, deleted_at, container.seq)
    await read_meter(transaction, container.seq, now=deleted_at, is_over=True)
    count, blobs = await _delete_files(transaction, container.seq, deleted_at=deleted_at, limit=max_files)
    if count == max_files:
        await transaction.run(_ADD_LEFTOVER, container.seq)
    return blobs


async def delete_leftovers(transaction: Transaction, *, deleted_at: int) -> list[str] | None:
    """Delete some files of a deleted container; return the blobs to delete, None if there is no such container."""
    seq = await transaction.value(A_LEFTOVER)
    if seq is None:
        return None
    count, blobs = await _delete_files(transaction, seq, deleted_at=deleted_at, limit=STEP_FILES)
    if count < STEP_FILES:
        await transaction.run(_REMOVE_LEFTOVER, seq)
    return blobs


async def _delete_files(
    transaction: Transaction, container_seq: int, *, deleted_at: int, limit: int
) -> tuple[int, list[str]]:
    """Delete the first files of a container; return how many there were, and the blobs to delete."""
    first = await transaction.one(_FIRST_FILES, container_seq, limit)
    if first is None or not first[1]:
        return 0, []
    seqs, count = first
    await transaction.run(_DELETE_FILES, deleted_at, seqs)
    return count, await release_blobs(transaction, await transaction.value(_BLOBS_OF, seqs))


async def purge_containers(
    transaction: Transaction, *, expired_before: int, limit: int, deleted_at: int
) -> tuple[int, list[str]]:
    """Delete hosted containers that expired before a time; return how many there were, and the blobs to delete."""
    expired = await transaction.lock_free(_EXPIRED, expired_before, limit)
    max_files = STEP_FILES // max(1, len(expired))
    blobs: list[str] = []
    for container_id, tenant in expired:
        blobs += await delete_container(
            transaction, tenant, container_id=container_id, deleted_at=deleted_at, max_files=max_files
        )
    return len(expired), blobs


async def insert_file(
    transaction: Transaction, tenant: str, *, record: ContainerFileRecord, quotas: Quotas, now: int
) -> str:
    """Add a file after its content was stored; return the blob that has the content."""
    seq = await _reserve_space(transaction, tenant, record=record, quotas=quotas, now=now, param="file")
    blob = await reference_new(transaction, record.stored)
    await insert_row(transaction, seq, record=record, blob=blob)
    return blob


async def copy_file(
    transaction: Transaction,
    tenant: str,
    *,
    record: ContainerFileRecord,
    quotas: Quotas,
    now: int,
) -> None:
    """Add a file with the content of another file."""
    seq = await _reserve_space(transaction, tenant, record=record, quotas=quotas, now=now, param="file_id")
    await insert_row(transaction, seq, record=record, blob=await reference_existing(transaction, record.stored))


async def _reserve_space(
    transaction: Transaction, tenant: str, *, record: ContainerFileRecord, quotas: Quotas, now: int, param: str
) -> int:
    """Add the size of a file to its container and its tenant, and return the container's seq.

    The container must not be expired, the path must be free, and the quotas must suffice.
    """
    file = record.file
    container = await running_container(transaction, tenant, container_id=file.container_id, now=now)
    if await transaction.value(_PATH_TAKEN, container.seq, file.path):
        raise path_taken(file.path)
    if container.bytes + file.bytes > quotas.container_bytes:
        raise container_full(quotas.container_bytes, param)
    await charge(transaction, tenant, file.bytes, maximum=quotas.tenant_bytes, param=param)
    await add_bytes(transaction, container.seq, file.bytes, now=now, since=container.bytes_since)
    return container.seq


async def add_bytes(transaction: Transaction, container_seq: int, size: int, *, now: int, since: int | None) -> None:
    """Change how many bytes a container has; its meter has counted them up to the time `since`, None if it has none."""
    if since is not None and day_of(since) != day_of(now):
        await read_meter(transaction, container_seq, now=now)
    await transaction.run(_ADD_BYTES, size=size, now=now, seq=container_seq)


async def insert_row(transaction: Transaction, container_seq: int, *, record: ContainerFileRecord, blob: str) -> None:
    """Add the row of a file; its size is counted already."""
    try:
        await transaction.run(_INSERT_FILE, container_seq, *file_values(record, blob))
    except ConflictError as error:
        raise StorageError("The file was stored by an earlier attempt.", code=ID_TAKEN) from error


async def delete_file(transaction: Transaction, tenant: str, *, container_id: str, file_id: str, now: int) -> list[str]:
    """Delete a file; return the blobs to delete."""
    container = await find_container(transaction, tenant, container_id=container_id)
    row = await transaction.one(_FILE, file_id, container.seq) if container else None
    if container is None or row is None:
        raise container_file_not_found(container_id, file_id)
    seq, size = row
    blob = await transaction.value(_DELETE_FILE, now, seq)
    await add_bytes(transaction, container.seq, -size, now=now, since=container.bytes_since)
    await refund(transaction, tenant, size)
    return await release_blobs(transaction, json.dumps([blob]))


async def _container(
    transaction: Transaction, tenant: str, *, container_id: str, provider: str | None = None
) -> LockedContainer:
    container = await find_container(transaction, tenant, container_id=container_id, provider=provider)
    if container is None:
        raise container_not_found(container_id)
    return container


async def running_container(transaction: Transaction, tenant: str, *, container_id: str, now: int) -> LockedContainer:
    """Return a container once it is locked. ContainerExpiredError if it is expired."""
    container = await _container(transaction, tenant, container_id=container_id)
    if now > last_second(container.last_active_at, container.expires_minutes):
        raise ContainerExpiredError
    return container


async def find_container(
    transaction: Transaction, tenant: str, *, container_id: str, provider: str | None = None
) -> LockedContainer | None:
    """Return a container once it is locked, None if there is none."""
    rows = await transaction.lock(_CONTAINER, container_id, tenant, provider)
    return LockedContainer._make(rows[0]) if rows else None


def path_taken(path: str) -> InvalidRequestError:
    """Return the error of a path that another file of the container already has."""
    message = f"A file with the path '{shown(path)}' already exists in the container."
    return InvalidRequestError(message, param="file_path", code="path_already_exists")


def id_taken(container_id: str) -> StorageError:
    """Return the error of a container id that is in use already."""
    return StorageError(f"A container with the id '{shown(container_id)}' is known already.", code=ID_TAKEN)


def container_full(max_container_bytes: int, param: str) -> InvalidRequestError:
    """Return the error of a file, named by `param`, that would exceed the quota of its container."""
    message = f"The container would hold more than {max_container_bytes} bytes with this file."
    return InvalidRequestError(message, param=param, code="container_size_exceeded")
