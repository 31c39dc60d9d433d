"""Writes files of a container that may be there already, inside a transaction of the caller: what a command changed."""

import json
from collections.abc import Sequence
from typing import NamedTuple

from berth.adapters.sql.blob_references import charge, reference_new, refund, release_blobs
from berth.adapters.sql.container_writes import (
    LockedContainer,
    add_bytes,
    container_full,
    insert_row,
    running_container,
)
from berth.adapters.sql.database import Transaction
from berth.core.exec.store import FileChanges, RemovedFile, WrittenFile
from berth.core.ports.container_store import ContainerFileRecord, Quotas, StoredChanges
from berth.v1.container_file_pb2 import ContainerFile

_LIVING = "SELECT seq, id, bytes, created_at, source, sha256 FROM files WHERE container_seq = ? AND deleted_at IS NULL"
_AT_PATH = f"{_LIVING} AND path = ?"
_WITH_ID = f"{_LIVING} AND id = ?"
_BLOB = "SELECT blob FROM files WHERE seq = ?"
_REPLACE_CONTENT = """
    UPDATE files SET bytes = ?, sha256 = ?, blob = ?, content_type = ?, modified_at = ? WHERE seq = ?
"""
_DELETE_FILE = "UPDATE files SET deleted_at = ? WHERE seq = ? RETURNING blob"


class _File(NamedTuple):
    """A row of _LIVING."""

    seq: int
    id: str
    bytes: int
    created_at: int
    source: str
    sha256: str


async def apply_changes(
    transaction: Transaction,
    tenant: str,
    container: LockedContainer,
    *,
    container_id: str,
    changes: FileChanges,
    quotas: Quotas,
    now: int,
    param: str = "files",
) -> StoredChanges:
    """Write and remove the files of a locked container. InvalidRequestError, for `param`, if a quota is exceeded."""
    removed = await _removed(transaction, container.seq, changes.removed)
    there = [await _file(transaction, _AT_PATH, container.seq, written.path) for written in changes.written]
    grown = sum(written.stored.bytes for written in changes.written)
    grown -= sum(file.bytes for file in (*removed, *filter(None, there)))
    await _count(transaction, tenant, container, grown=grown, quotas=quotas, now=now, param=param)
    released = [await transaction.value(_DELETE_FILE, now, file.seq) for file in removed]
    files: dict[str, ContainerFile] = {}
    unused: list[str] = []
    # Blobs are locked in the order of what they contain, as everywhere.
    for written, file in sorted(zip(changes.written, there, strict=True), key=lambda pair: pair[0].stored.sha256):
        blob = await reference_new(transaction, written.stored)
        if blob != written.stored.blob:
            unused.append(written.stored.blob)
        if file is None:
            record = _new_file(written, container_id, now=now)
            await insert_row(transaction, container.seq, record=record, blob=blob)
            files[written.path] = record.file
        else:
            # Another file may have replaced the blob while this transaction waited for its lock.
            released.append(await transaction.value(_BLOB, file.seq))
            stored = written.stored
            values = (stored.bytes, stored.sha256, blob, written.content_type, now, file.seq)
            await transaction.run(_REPLACE_CONTENT, *values)
            files[written.path] = _message(file, written, container_id)
    unreferenced = await release_blobs(transaction, json.dumps(released)) if released else []
    return StoredChanges([files[written.path] for written in changes.written], [*unreferenced, *unused])


async def replace_file(
    transaction: Transaction, tenant: str, *, record: ContainerFileRecord, quotas: Quotas, now: int
) -> StoredChanges:
    """Write a file that was uploaded, whether or not there is one with its path."""
    file = record.file
    container = await running_container(transaction, tenant, container_id=file.container_id, now=now)
    written = WrittenFile(file.path, record.stored, file.id, record.content_type, file.source)
    return await apply_changes(
        transaction,
        tenant,
        container,
        container_id=file.container_id,
        changes=FileChanges([written]),
        quotas=quotas,
        now=now,
        param="file",
    )


async def _removed(transaction: Transaction, container_seq: int, removed: Sequence[RemovedFile]) -> list[_File]:
    """Return those of the removed files that are there with the content that the command saw."""
    found = [(one, await _file(transaction, _WITH_ID, container_seq, one.file_id)) for one in removed]
    return [file for one, file in found if file is not None and file.sha256 == one.sha256]


async def _file(transaction: Transaction, query: str, container_seq: int, name: str) -> _File | None:
    row = await transaction.one(query, container_seq, name)
    return _File._make(row) if row else None


async def _count(
    transaction: Transaction,
    tenant: str,
    container: LockedContainer,
    *,
    grown: int,
    quotas: Quotas,
    now: int,
    param: str,
) -> None:
    """Count how many bytes more, or fewer, the container and its tenant have now."""
    if grown > 0 and container.bytes + grown > quotas.container_bytes:
        raise container_full(quotas.container_bytes, param)
    if grown > 0:
        await charge(transaction, tenant, grown, maximum=quotas.tenant_bytes, param=param)
    elif grown:
        await refund(transaction, tenant, -grown)
    await add_bytes(transaction, container.seq, grown, now=now, since=container.bytes_since)


def _new_file(written: WrittenFile, container_id: str, *, now: int) -> ContainerFileRecord:
    stored = written.stored
    file = ContainerFile(
        id=written.file_id,
        object="container.file",
        container_id=container_id,
        path=written.path,
        bytes=stored.bytes,
        created_at=now,
        source=written.source,
    )
    filename = written.path.rpartition("/")[2]
    return ContainerFileRecord(
        file, filename, written.content_type, stored.sha256, stored.blob, block_sums=stored.block_sums
    )


def _message(file: _File, written: WrittenFile, container_id: str) -> ContainerFile:
    return ContainerFile(
        id=file.id,
        object="container.file",
        container_id=container_id,
        path=written.path,
        bytes=written.stored.bytes,
        created_at=file.created_at,
        source=file.source,
    )
