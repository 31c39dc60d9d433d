"""ContainerStore: the port for the rows of containers and container files.

Every adapter passes the suites in `tests/contracts`. Besides the errors that are
named here, any method may raise StorageError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.lifetime import last_second
from berth.core.ports.blob_store import BlobReferences, StoredContent
from berth.core.ports.pages import Page, Pagination
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import Provider

ID_TAKEN = "id_taken"
"""The code of the StorageError of a row whose id, or whose attempt, another one has already."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """How many bytes the files of a container, and all files of a tenant, may have together."""

    container_bytes: int
    tenant_bytes: int


UNLIMITED = Quotas(container_bytes=2**63 - 1, tenant_bytes=2**63 - 1)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as it is stored, without `extra_fields`.

    `attempt` marks what a request with an idempotency key made; it is written and
    not read back. `key` is the name of the key that a provider made the container
    with, empty for a hosted one. In the message of a hosted one `last_active_at` and
    `expires_after` are set, and `status` is not: the clock tells it. In that of
    a provider's they are what the provider said last, if it did.
    """

    container: Container
    tenant: str
    provider: Provider
    key: str = ""
    attempt: str | None = None


@dataclass(frozen=True, slots=True)
class ContainerFileRecord:
    """A file as it is stored, without `extra_fields`.

    `blob` is the key of its bytes in the BlobStore; `sha256` is their digest,
    64 hexadecimal digits; `attempt` is as in ContainerRecord.
    """

    file: ContainerFile
    filename: str
    content_type: str
    sha256: str
    blob: str
    attempt: str | None = None

    @property
    def stored(self) -> StoredContent:
        """The file's bytes."""
        return StoredContent(self.blob, self.sha256, self.file.bytes)


class ContainerSummary(NamedTuple):
    """What matters about the container that a file is in.

    It is idle since `last_active_at`, in seconds since 1970, and may be for
    `expires_minutes`.
    """

    provider: Provider
    last_active_at: int
    expires_minutes: int

    @property
    def expires_at(self) -> int:
        """The last second in which the container is running if nothing touches it."""
        return last_second(self.last_active_at, self.expires_minutes)


class ContainerStore(BlobReferences, Protocol):
    """The rows of containers and of their files.

    A write has happened, durably, when its method returns; if its caller is
    cancelled it happens whole or not at all, and nobody is told which. Order
    of creation is the order in which rows were added, also within one second.
    An id that was never given out is merely absent, whatever is in it.
    """

    async def add_container(
        self,
        record: ContainerRecord,
        *,
        domain_secrets: Sequence[DomainSecret] = (),
        copies: Sequence[ContainerFileRecord] = (),
        quotas: Quotas = UNLIMITED,
    ) -> None:
        """Add a container and, as `copy_file` does, the files `copies`: all or nothing.

        StorageError if there is one of its id already, which only a provider
        can bring about, or of its attempt; and what `copy_file` raises.
        """

    async def get_provider(self, tenant: str, container_id: str) -> Provider:
        """Return whose a container is. NotFoundError if the tenant has none of that id."""

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Take over the `status` and `last_active_at` of `container`; do nothing if it is gone."""

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Have a container be active now; do nothing if it is gone or expired."""

    async def get_container(self, tenant: str, container_id: str) -> ContainerRecord:
        """Return a container. NotFoundError if the tenant has none of that id."""

    async def list_containers(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        name: str | None = None,
        status: ContainerStatus | None = None,
    ) -> Page[ContainerRecord]:
        """Return a page of the tenant's containers: of any of `providers`, of a `name`, and of a `status`, if given.

        Which status a container has at the time, `lifetime` says.

        InvalidRequestError (param `after`) if the tenant never had a container
        of the id `paging.after`; one that was deleted still marks its place.
        """

    async def delete_container(self, tenant: str, container_id: str) -> Sequence[str]:
        """Delete a container and its files' rows; return the blobs that nobody holds any more, to be removed.

        NotFoundError if there is none.
        """

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete at most `limit` hosted containers that expired more than `retention_seconds` ago, and their files.

        Return how many there were, and the blobs that nobody holds any more.
        """

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file, whose bytes were just stored, to the container that `record.file.container_id` names.

        The container is active then. Return the blob that has its bytes: `record.blob`, or an older one of the
        same content, and then nothing refers to `record.blob`. Where the older
        one is noted as damaged it is the other way round: every file that had
        it has `record.blob` from now on. StorageError if
        there is one of its attempt already, NotFoundError if the tenant has no
        such container, ContainerExpiredError if it is expired by now, InvalidRequestError if its path is taken (param
        `file_path`, code `path_already_exists`), or if the container would hold
        more than its quota (param `file`, code `container_size_exceeded`), or
        the tenant would (`tenant_size_exceeded`).
        """

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file, whose bytes another file has, by `record.sha256` and their number.

        NotFoundError if no file has them any more; else as `add_file`.
        """

    async def get_file(
        self, tenant: str, container_id: str, file_id: str
    ) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return a file and its container. NotFoundError if the tenant has no such file in it."""

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of a container's files; an empty one, whatever `after` is, if there is no such container.

        InvalidRequestError (param `after`) if the container never had a file of
        the id `paging.after`; one that was deleted still marks its place.
        """

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete a file's row; return the blobs that nobody holds any more. NotFoundError if there is no such file."""
