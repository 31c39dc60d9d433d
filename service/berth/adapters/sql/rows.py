"""Converts rows of the tables to records of the core and back.

Names follow the tables: `files` has the container files, `tenant_files` the files of the Files API.

Rows are plain tuples, which their readers unpack into names in one statement: reads are the hot path, and a
NamedTuple for each row makes a list of files 10 % slower.
"""

from collections.abc import Sequence
from typing import Any, cast

import orjson

from berth.adapters.sql.database import Row
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

CONTAINER_COLUMNS = (
    "id, provider, name, created_at, last_active_at, expires_minutes,"
    " memory_limit, metadata, network_type, allowed_domains, key_name, status, adopted_at"
)
CONTAINER_READ = f"{CONTAINER_COLUMNS}, bytes, seq"
"""What is read of a container: the columns that are written with it, its size, and its place in lists."""
FILE_COLUMNS = "id, path, bytes, created_at, source, filename, content_type, sha256, blob, modified_at"
TENANT_FILE_COLUMNS = (
    "id, provider, filename, purpose, bytes, created_at, expires_at, status, content_type, sha256, blob, key_name,"
    " adopted_at"
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


def container_record(row: Row, tenant: str) -> ContainerRecord:
    """Return the record of a row of CONTAINER_READ."""
    (
        id_,
        provider,
        name,
        created_at,
        last_active_at,
        minutes,
        memory_limit,
        metadata,
        network,
        domains,
        key,
        status,
        adopted_at,
        size,
        _,
    ) = row
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
        network_policy=_network_policy(network, domains) if network else None,
    )
    return ContainerRecord(container, tenant, PROVIDERS[provider], key, adopted_at=adopted_at, bytes=size)


def container_status(row: Row, now: int) -> ContainerStatus:
    """Return the status at `now`, in seconds since 1970, of the container in a row of CONTAINER_READ."""
    last_active_at, minutes, key, status = row[4], row[5], row[10], row[11]
    stored = _STATUSES[status] if status else None
    return current_status(stored, is_hosted=not key, last_active_at=last_active_at, minutes=minutes, now=now)


def container_values(record: ContainerRecord) -> Row:
    """Return the values of CONTAINER_COLUMNS for `record`, followed by its tenant and attempt."""
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
        record.adopted_at,
        record.tenant,
        record.attempt,
    )


def status_text(container: Container) -> str | None:
    """Return the value of the column `status`, None if the container has none."""
    return _STATUS_NAMES[container.status] if container.HasField("status") else None


def file_record(row: Sequence[Any], container_id: str) -> ContainerFileRecord:
    """Return the record of a row of FILE_COLUMNS."""
    id_, path, size, created_at, source, filename, content_type, sha256, blob, modified_at = row
    file = ContainerFile(
        id=id_,
        object="container.file",
        container_id=container_id,
        path=path,
        bytes=size,
        created_at=created_at,
        source=source,
    )
    return ContainerFileRecord(file, filename, content_type, sha256, blob, modified_at=modified_at)


def file_values(record: ContainerFileRecord, blob: str) -> Row:
    """Return the values of FILE_COLUMNS for `record`, its content being in `blob`, followed by its attempt."""
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
        record.modified_at,
        record.attempt,
    )


def tenant_file_record(row: Row, tenant: str) -> FileRecord:
    """Return the record of a row of TENANT_FILE_COLUMNS and `seq`."""
    id_, provider, filename, purpose, size, created_at, expires_at, status, content_type, sha256, blob = row[:11]
    key, adopted_at = row[11:13]
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
    return FileRecord(file, tenant, PROVIDERS[provider], content_type, sha256, blob, key, adopted_at=adopted_at)


def tenant_file_values(record: FileRecord, blob: str) -> Row:
    """Return the values of TENANT_FILE_COLUMNS for `record`, its content being in `blob`; then the other columns."""
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
        record.adopted_at,
        record.tenant,
        record.attempt,
        record.created_by,
    )


def _network_policy(network_type: str, domains: str | None) -> NetworkPolicy:
    return NetworkPolicy(type=_NETWORK_TYPES[network_type], allowed_domains=orjson.loads(domains) if domains else None)


def _json(value: dict[str, str] | list[str]) -> str | None:
    """Return `value` as JSON text, None if it is empty."""
    return orjson.dumps(value).decode() if value else None
