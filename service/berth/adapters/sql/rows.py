"""Rows of the tables as records of the core, and back.

Rows are plain tuples in the order of the column lists here: point reads are
the hot path, and a tuple is the cheapest row there is.
"""

import sqlite3
from typing import Any, cast

import orjson

from berth.core.lifetime import current_status
from berth.core.ports.container_store import ContainerFileRecord, ContainerRecord
from berth.core.ports.file_store import FileRecord
from berth.core.providers import PROVIDERS, provider_name
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import (
    Container,
    ContainerStatus,
    ExpiresAfter,
    NetworkPolicy,
    NetworkPolicyType,
)
from berth.v1.file_pb2 import File

Row = tuple[Any, ...]

CONTAINER_COLUMNS = (
    "id, provider, name, created_at, last_active_at, expires_minutes,"
    " memory_limit, metadata, network_type, allowed_domains, key_name, status"
)
FILE_COLUMNS = "id, path, bytes, created_at, source, filename, content_type, sha256, blob"
TENANT_FILE_COLUMNS = (
    "id, provider, filename, purpose, bytes, created_at, expires_at, status, content_type, sha256, blob, key_name"
)

_ANCHOR = "last_active_at"
_NETWORK_PREFIX = "NETWORK_POLICY_TYPE_"
_NETWORK_TYPES: dict[str, NetworkPolicyType] = {
    name.removeprefix(_NETWORK_PREFIX).lower(): cast("NetworkPolicyType", value)
    for name, value in NetworkPolicyType.items()
}
_NETWORK_NAMES: dict[int, str] = {value: name for name, value in _NETWORK_TYPES.items()}
_STATUS_PREFIX = "CONTAINER_STATUS_"
_STATUSES: dict[str, ContainerStatus] = {
    name.removeprefix(_STATUS_PREFIX).lower(): cast("ContainerStatus", value) for name, value in ContainerStatus.items()
}
_STATUS_NAMES: dict[int, str] = {value: name for name, value in _STATUSES.items()}


def fetch_one(connection: sqlite3.Connection, query: str, *values: object) -> Row | None:
    """Return the first row of `query`, None if there is none.

    A text that is no valid Unicode (a lone surrogate) cannot be handed to the
    database; so no row has it.
    """
    try:
        row: Row | None = connection.execute(query, values).fetchone()
    except UnicodeEncodeError:
        return None
    return row


def container_record(row: Row, tenant: str) -> ContainerRecord:
    """Return the record of a row that begins with CONTAINER_COLUMNS."""
    id_, provider, name, created_at, last_active_at, minutes, memory_limit, metadata, *policy, key, status = row[:12]
    container = Container(
        id=id_,
        object="container",
        name=name,
        created_at=created_at,
        status=_STATUSES[status] if status else None,
        last_active_at=last_active_at or None,
        expires_after=ExpiresAfter(anchor=_ANCHOR, minutes=minutes) if minutes else None,
        memory_limit=memory_limit,
        metadata=orjson.loads(metadata) if metadata else None,
        network_policy=_network_policy(*policy) if policy[0] else None,
    )
    return ContainerRecord(container, tenant, PROVIDERS[provider], key)


def container_status(row: Row, now: int) -> ContainerStatus:
    """Return the status, at `now`, of the container in a row that begins with CONTAINER_COLUMNS."""
    _, _, _, _, last_active_at, minutes, _, _, _, _, key, status = row[:12]
    stored = _STATUSES[status] if status else None
    return current_status(stored, is_hosted=not key, last_active_at=last_active_at, minutes=minutes, now=now)


def container_row(record: ContainerRecord) -> Row:
    """Return the values of CONTAINER_COLUMNS for `record`, and its tenant and attempt behind them."""
    container = record.container
    policy = container.network_policy if container.HasField("network_policy") else None
    return (
        container.id,
        provider_name(record.provider),
        container.name,
        container.created_at,
        container.last_active_at,
        container.expires_after.minutes,
        container.memory_limit if container.HasField("memory_limit") else None,
        _json(dict(container.metadata)),
        _NETWORK_NAMES[policy.type] if policy else None,
        _json(list(policy.allowed_domains)) if policy else None,
        record.key,
        status_text(container),
        record.tenant,
        record.attempt,
    )


def status_text(container: Container) -> str | None:
    """Return the value of the column `status`, None if the container has none."""
    return _STATUS_NAMES[container.status] if container.HasField("status") else None


def file_record(row: Row, container_id: str) -> ContainerFileRecord:
    """Return the record of a row that begins with FILE_COLUMNS."""
    file = ContainerFile(
        id=row[0],
        object="container.file",
        container_id=container_id,
        path=row[1],
        bytes=row[2],
        created_at=row[3],
        source=row[4],
    )
    return ContainerFileRecord(file, row[5], row[6], row[7], row[8])


def file_row(record: ContainerFileRecord, blob: str) -> Row:
    """Return the values of FILE_COLUMNS for `record`, whose bytes are in `blob`, and its attempt behind them."""
    file = record.file
    return (
        file.id,
        file.path,
        file.bytes,
        file.created_at,
        file.source,
        record.filename,
        record.content_type,
        record.sha256,
        blob,
        record.attempt,
    )


def tenant_file(row: Row, tenant: str) -> FileRecord:
    """Return the record of a row that begins with TENANT_FILE_COLUMNS."""
    id_, provider, filename, purpose, size, created_at, expires_at, status, content_type, sha256, blob, key = row[:12]
    file = File(
        id=id_,
        object="file",
        bytes=size,
        created_at=created_at,
        expires_at=expires_at,
        filename=filename,
        purpose=purpose,
        status=status,
    )
    return FileRecord(file, tenant, PROVIDERS[provider], content_type, sha256, blob, key)


def tenant_file_row(record: FileRecord, blob: str) -> Row:
    """Return the values of TENANT_FILE_COLUMNS for `record`, with its bytes in `blob`; then tenant and attempt."""
    file = record.file
    return (
        file.id,
        provider_name(record.provider),
        file.filename,
        file.purpose,
        file.bytes,
        file.created_at,
        file.expires_at if file.HasField("expires_at") else None,
        file.status,
        record.content_type,
        record.sha256,
        blob,
        record.key,
        record.tenant,
        record.attempt,
    )


def _network_policy(network_type: str, domains: str | None) -> NetworkPolicy:
    return NetworkPolicy(type=_NETWORK_TYPES[network_type], allowed_domains=orjson.loads(domains) if domains else None)


def _json(value: dict[str, str] | list[str]) -> str | None:
    """Return `value` as JSON text, None if it is empty."""
    return orjson.dumps(value).decode() if value else None
