"""The writes of SqlStore, each inside a transaction of the caller.

`bytes` of a container and of a tenant are the sums of their files. They are updated in the same transaction, so that
the quotas hold however many uploads end at the same time. References to blobs are counted in `blob_references`.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from berth.adapters.sql.blob_references import charge, reference_existing, reference_new, refund, release_blobs
from berth.adapters.sql.rows import (
    CONTAINER_COLUMNS,
    FILE_COLUMNS,
    Row,
    container_values,
    fetch_one,
    fetch_value,
    file_values,
    status_text,
)
from berth.core.errors import ContainerExpiredError, InvalidRequestError, StorageError
from berth.core.lifetime import last_second
from berth.core.ports.container_store import ID_TAKEN, ContainerFileRecord, ContainerRecord, Quotas
from berth.core.validation import container_file_not_found, container_not_found, shown
from berth.v1.container_pb2 import Container

_PLACEHOLDERS = ", ".join("?" * (CONTAINER_COLUMNS.count(",") + 3))  # including tenant and attempt
_INSERT_CONTAINER = f"INSERT INTO containers ({CONTAINER_COLUMNS}, tenant, attempt) VALUES ({_PLACEHOLDERS})"  # noqa: S608 - constants
_INSERT_SECRET = "INSERT INTO domain_secrets (container_seq, domain, name, value, key_id) VALUES (?, ?, ?, ?, ?)"  # noqa: S105 - a query
_INSERT_FILE = f"INSERT INTO files (container_seq, {FILE_COLUMNS}, attempt) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - constants
_CONTAINER = """
    SELECT seq, bytes, last_active_at, expires_minutes FROM containers
    WHERE id = ? AND tenant = ? AND deleted_at IS NULL
"""
_PATH_TAKEN = "SELECT 1 FROM files WHERE container_seq = ? AND path = ? AND deleted_at IS NULL"
_FILE = """
    SELECT files.seq, files.bytes, files.blob, files.container_seq
    FROM files JOIN containers ON containers.seq = files.container_seq
    WHERE files.id = ? AND containers.id = ? AND containers.tenant = ? AND files.deleted_at IS NULL
"""
_BLOBS = "SELECT blob FROM files WHERE container_seq = ? AND deleted_at IS NULL ORDER BY seq"
_ADD_BYTES = "UPDATE containers SET bytes = bytes + ?, last_active_at = max(last_active_at, ?) WHERE seq = ?"
_TOUCH = """
    UPDATE containers SET last_active_at = ?1
    WHERE id = ?2 AND tenant = ?3 AND deleted_at IS NULL
    AND last_active_at < ?1 AND last_active_at + expires_minutes * 60 >= ?1
"""
_DELETE_FILE = "UPDATE files SET deleted_at = ? WHERE seq = ?"
_DELETE_FILES = "UPDATE files SET deleted_at = ? WHERE container_seq = ? AND deleted_at IS NULL"
_DELETE_CONTAINER = "UPDATE containers SET deleted_at = ?, bytes = 0 WHERE seq = ?"
_REFRESH = "UPDATE containers SET status = ?, last_active_at = ? WHERE id = ? AND tenant = ? AND deleted_at IS NULL"
_EXPIRED = """
    SELECT id, tenant FROM containers
    WHERE deleted_at IS NULL AND key_name = '' AND (last_active_at + expires_minutes * 60) < ?
    ORDER BY (last_active_at + expires_minutes * 60) LIMIT ?
"""
_DELETE_SECRETS = "DELETE FROM domain_secrets WHERE container_seq = ?"


class _Container(NamedTuple):
    """A row of the query _CONTAINER."""

    seq: int
    bytes: int
    last_active_at: int
    expires_minutes: int


def insert_container(
    connection: sqlite3.Connection,
    record: ContainerRecord,
    *,
    secrets: Iterable[Row],
    copies: Sequence[ContainerFileRecord],
    quotas: Quotas,
    now: int,
) -> None:
    """Add a container, its secrets as `secret_values` returns them, and copies of files with stored content."""
    try:
        seq = connection.execute(_INSERT_CONTAINER, container_values(record)).lastrowid
    except sqlite3.IntegrityError as error:
        raise id_taken(record.container.id) from error
    connection.executemany(_INSERT_SECRET, [(seq, *secret) for secret in secrets])
    for index, copy in enumerate(copies):
        copy_file(connection, record.tenant, record=copy, quotas=quotas, now=now, param=f"file_ids[{index}]")


def refresh_container(connection: sqlite3.Connection, tenant: str, *, container: Container) -> None:
    """Update the status and the last activity of a container."""
    values = (status_text(container), container.last_active_at, container.id, tenant)
    connection.execute(_REFRESH, values)


def touch_container(connection: sqlite3.Connection, tenant: str, container_id: str, *, now: int) -> None:
    """Set the last activity of a container to `now`, unless it is expired."""
    connection.execute(_TOUCH, (now, container_id, tenant))


def delete_container(connection: sqlite3.Connection, tenant: str, *, container_id: str, deleted_at: int) -> list[str]:
    """Delete a container, its files and its secrets; return the blobs to delete.

    The rows of the secrets are removed; those of the container and its files are only marked as deleted.
    """
    container = _container(connection, tenant, container_id=container_id)
    blobs = release_blobs(connection, [blob for (blob,) in connection.execute(_BLOBS, (container.seq,)).fetchall()])
    refund(connection, tenant, container.bytes)
    connection.execute(_DELETE_FILES, (deleted_at, container.seq))
    connection.execute(_DELETE_SECRETS, (container.seq,))
    connection.execute(_DELETE_CONTAINER, (deleted_at, container.seq))
    return blobs


def purge_containers(
    connection: sqlite3.Connection, *, expired_before: int, limit: int, deleted_at: int
) -> tuple[int, list[str]]:
    """Delete hosted containers that expired before a time; return how many there were, and the blobs to delete."""
    expired = connection.execute(_EXPIRED, (expired_before, limit)).fetchall()
    blobs: list[str] = []
    for container_id, tenant in expired:
        blobs += delete_container(connection, tenant, container_id=container_id, deleted_at=deleted_at)
    return len(expired), blobs


def insert_file(
    connection: sqlite3.Connection, tenant: str, *, record: ContainerFileRecord, quotas: Quotas, now: int
) -> str:
    """Add a file after its content was stored; return the blob that has the content."""
    seq = _reserve_space(connection, tenant, record=record, quotas=quotas, now=now, param="file")
    blob = reference_new(connection, record.stored)
    _insert_file(connection, seq, record=record, blob=blob)
    return blob


def copy_file(
    connection: sqlite3.Connection,
    tenant: str,
    *,
    record: ContainerFileRecord,
    quotas: Quotas,
    now: int,
    param: str = "file_id",
) -> None:
    """Add a file with the content of another file; `param` is the parameter that named the other file."""
    seq = _reserve_space(connection, tenant, record=record, quotas=quotas, now=now, param=param)
    _insert_file(connection, seq, record=record, blob=reference_existing(connection, record.stored))


def _reserve_space(
    connection: sqlite3.Connection, tenant: str, *, record: ContainerFileRecord, quotas: Quotas, now: int, param: str
) -> int:
    """Add the size of a file to its container and its tenant, and return the container's seq.

    The container must not be expired, the path must be free, and the quotas must suffice.
    """
    file = record.file
    container = _container(connection, tenant, container_id=file.container_id)
    if now > last_second(container.last_active_at, container.expires_minutes):
        raise ContainerExpiredError
    if fetch_value(connection, _PATH_TAKEN, container.seq, file.path):
        raise path_taken(file.path)
    if container.bytes + file.bytes > quotas.container_bytes:
        raise container_full(quotas.container_bytes, param)
    charge(connection, tenant, file.bytes, maximum=quotas.tenant_bytes, param=param)
    connection.execute(_ADD_BYTES, (file.bytes, now, container.seq))
    return container.seq


def _insert_file(connection: sqlite3.Connection, container_seq: int, *, record: ContainerFileRecord, blob: str) -> None:
    try:
        connection.execute(_INSERT_FILE, (container_seq, *file_values(record, blob)))
    except sqlite3.IntegrityError as error:
        raise StorageError("The file was stored by an earlier attempt.", code=ID_TAKEN) from error


def delete_file(connection: sqlite3.Connection, tenant: str, *, container_id: str, file_id: str, now: int) -> list[str]:
    """Delete a file; return the blobs to delete."""
    row = fetch_one(connection, _FILE, file_id, container_id, tenant)
    if row is None:
        raise container_file_not_found(container_id, file_id)
    seq, size, blob, container_seq = row
    connection.execute(_DELETE_FILE, (now, seq))
    connection.execute(_ADD_BYTES, (-size, now, container_seq))
    refund(connection, tenant, size)
    return release_blobs(connection, [blob])


def _container(connection: sqlite3.Connection, tenant: str, *, container_id: str) -> _Container:
    row = fetch_one(connection, _CONTAINER, container_id, tenant)
    if row is None:
        raise container_not_found(container_id)
    return _Container._make(row)


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
