"""ContainerStore: the port for the rows of containers and container files.

Every adapter passes the suites in `tests/contracts`. Besides the errors that are named here, any
method may raise StorageError.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.lifetime import last_second
from berth.core.ports.blob_store import BlobReferences, StoredContent
from berth.core.ports.pages import Page, Pagination
from berth.core.ports.usage_store import Charge
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DomainSecret
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

ID_TAKEN = "id_taken"
"""The code of the StorageError for a row with an id, or an attempt, that another row already has."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """The maximum sizes in bytes of all files of a container together, and of all files of a tenant together."""

    container_bytes: int
    tenant_bytes: int


MAX_ADOPTED = 10_000
"""How many containers, and how many files, that Berth did not create are remembered for a tenant."""

UNLIMITED = Quotas(container_bytes=2**63 - 1, tenant_bytes=2**63 - 1)


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    """A container as it is stored, without `extra_fields`.

    `attempt` is the attempt of a request with an idempotency key that created it; it is written but
    not read back. `key` is the name of the provider key that created it, empty for a hosted
    container. `created_by` is the name of the caller's key, for which the usage of the container is
    counted; None if it is not counted. `charge` is charged to the budget of that key, None if it
    has none. Both are written but not read back. In the message of a hosted container
    `last_active_at` and `expires_after` are set, and `status` is not, because it depends on the
    clock. In the message of a passthrough container
    they are what the provider reported last, if it did.

    `bytes` is the size of all files of a hosted container together; it is read but not written, and
    never in the message.

    `adopted_at`, in seconds since 1970, is when a container that Berth did not create was first used.
    As long as nothing but its id is known, its `created_at` is 0.
    """

    container: Container
    tenant: str
    provider: Provider
    key: str = ""
    attempt: str | None = None
    adopted_at: int | None = None
    created_by: str | None = None
    charge: Charge | None = None
    bytes: int = 0


class ForeignRow(NamedTuple):
    """Where a resource of another `tenant` is kept: its provider, and the name of the key, empty if it is hosted."""

    provider: Provider
    key: str
    tenant: str


@dataclass(frozen=True, slots=True)
class ContainerFileRecord:
    """A container file as it is stored, without `extra_fields`.

    `blob` is the key of its content in the BlobStore; `sha256` is the digest of the content in 64
    hexadecimal digits; `attempt` is as in ContainerRecord. `block_sums`, as in StoredContent, are
    written but not read back. `modified_at`, in seconds since 1970, is when a command changed the
    content, None if none did.
    """

    file: ContainerFile
    filename: str
    content_type: str
    sha256: str
    blob: str
    attempt: str | None = None
    block_sums: bytes | None = None
    modified_at: int | None = None

    @property
    def stored(self) -> StoredContent:
        """The content of the container file."""
        return StoredContent(self.blob, self.sha256, self.file.bytes, self.block_sums)


class StoredChanges(NamedTuple):
    """The files as they are stored, and the blobs that are now unreferenced, among them written ones."""

    files: Sequence[ContainerFile]
    unreferenced: Sequence[str]


class ContainerSummary(NamedTuple):
    """The fields of a container that matter to its files.

    It was last active at `last_active_at`, in seconds since 1970, and may be idle for
    `expires_minutes`.
    """

    provider: Provider
    last_active_at: int
    expires_minutes: int

    @property
    def expires_at(self) -> int:
        """The last second in which the container is running if it is not used again."""
        return last_second(self.last_active_at, self.expires_minutes)


class ContainerStore(BlobReferences, Protocol):
    """The rows of containers and of their files.

    A write is durable when its method returns. If the caller is cancelled, the write happens
    completely or not at all, and the caller does not learn which. The order of creation is the
    order in which rows were added, also within one second. An id that was never issued is not
    found, whatever characters it has.

    A tenant has at most one container with the same id at each provider. Where a method is not given
    the provider, it means any of them; only providers can cause that there are several.
    """

    async def add_container(
        self,
        record: ContainerRecord,
        *,
        domain_secrets: Sequence[DomainSecret] = (),
        copies: Sequence[ContainerFileRecord] = (),
        quotas: Quotas = UNLIMITED,
        is_own: bool = False,
    ) -> None:
        """Add a container and, as `copy_file` does, the files `copies`: all or nothing.

        StorageError (ID_TAKEN) if Berth has already created a container with its id, which only a
        provider can cause, or one with its attempt; BudgetExceededError if the budget does not
        suffice for the charge of `record`; also the errors of `copy_file`. `is_own` says that it is
        in an account of the tenant's own: then other tenants may have its id.
        """

    async def adopt(self, record: ContainerRecord, *, keep: int = MAX_ADOPTED) -> bool:
        """Add a container that Berth did not create, or store what is known about it by now; return whether it is new.

        A container that Berth did create stays as it is; one that was deleted is there again. Of the
        adopted containers of the tenant, only the last `keep` are kept.
        """

    async def forget(self, *, retention_seconds: int, limit: int, adopted: bool) -> int:
        """Remove at most `limit` containers at providers that expired more than `retention_seconds` ago.

        They are adopted ones, or those that Berth created: of these, one without a time of its last activity, and one
        that was created later than that, stay. One with an unknown expiry counts as expired when it was last used.
        Return their number.
        """

    async def foreign(self, tenant: str, container_id: str) -> Sequence[ForeignRow]:
        """Return where other tenants have a container with this id, except for adopted ones."""

    async def get_provider(self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED) -> Provider:
        """Return the provider of a container, which is `provider` if that is set.

        NotFoundError if the tenant has no such container.
        """

    async def refresh_container(self, tenant: str, container: Container) -> None:
        """Store the `status` and `last_active_at` of `container`; do nothing if it was deleted.

        It is the tenant's container of `container.provider`, if that is set.
        """

    async def touch_container(self, tenant: str, container_id: str) -> None:
        """Set the last activity of a container to now; do nothing if it was deleted or is expired."""

    async def get_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> ContainerRecord:
        """Return a container, of `provider` if that is set. NotFoundError if the tenant has no such container."""

    async def get_domain_secrets(self, tenant: str, container_id: str) -> Sequence[DomainSecret]:
        """Return the secrets of a container, as they were added.

        NotFoundError if the tenant has no container with this id; StorageError if they were encrypted with another key
        than the store has now.
        """

    async def list_containers(
        self,
        tenant: str,
        pagination: Pagination,
        *,
        providers: frozenset[Provider] | None = None,
        name: str | None = None,
        status: ContainerStatus | None = None,
    ) -> Page[ContainerRecord]:
        """Return a page of the tenant's containers, filtered by `providers`, `name` and `status` if given.

        The module `lifetime` defines which status a container has at the time. InvalidRequestError
        (param `after`) if the tenant never had a container with the id `pagination.after`; a
        deleted one still marks its position until Upkeep removes its row.
        """

    async def delete_container(
        self, tenant: str, container_id: str, provider: Provider = PROVIDER_UNSPECIFIED
    ) -> Sequence[str]:
        """Delete a container and the rows of its files; return the unreferenced blobs, which are to be deleted.

        Nothing of it can be found any more. If it has many files, the rows of the others are deleted by
        `delete_leftovers`. NotFoundError if there is no such container.
        """

    async def delete_leftovers(self) -> Sequence[str] | None:
        """Delete some rows of files that are left of deleted containers: as many as other writes may wait for.

        Return the unreferenced blobs, None if nothing was left.
        """

    async def purge(self, *, retention_seconds: int, limit: int) -> tuple[int, Sequence[str]]:
        """Delete at most `limit` hosted containers that expired more than `retention_seconds` ago, and their files.

        Return the number of deleted containers and the unreferenced blobs.
        """

    async def add_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> str:
        """Add a file with newly stored content to the container `record.file.container_id`.

        This counts as activity of the container. Return the blob that the row refers to:
        `record.blob`, or an older blob with the same content, and then `record.blob` is
        unreferenced. If the older one is recorded as damaged, it is the other way round: all files
        that referred to it refer to `record.blob` from now on.

        StorageError (ID_TAKEN) if there is already a file with its attempt; NotFoundError if the
        tenant has no such container; ContainerExpiredError if it is expired by now;
        InvalidRequestError if the path is taken (param `file_path`, code `path_already_exists`), or
        if the container would exceed its quota (param `file`, code `container_size_exceeded`), or
        the tenant would (code `tenant_size_exceeded`).
        """

    async def replace_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> StoredChanges:
        """Have the file with the path of `record` have its newly stored content, or add one.

        A file that was there keeps its id, its name, and when and by whom it was created; if it cannot have the
        content, it stays as it was. The attempt of `record` is not stored. Otherwise as `add_file`.
        """

    async def copy_file(self, tenant: str, record: ContainerFileRecord, *, quotas: Quotas) -> None:
        """Add a file with content that another file has, identified by `record.sha256` and its size.

        NotFoundError if no file has the content any more; otherwise the errors of `add_file`.
        """

    async def get_file(
        self, tenant: str, container_id: str, file_id: str
    ) -> tuple[ContainerSummary, ContainerFileRecord]:
        """Return a container file and its container. NotFoundError if the tenant has no such file in the container."""

    async def list_files(self, tenant: str, container_id: str, pagination: Pagination) -> Page[ContainerFileRecord]:
        """Return a page of a container's files; it is empty, whatever `after` is, if there is no such container.

        InvalidRequestError (param `after`) if the container never had a file with the id
        `pagination.after`; a deleted one still marks its position until Upkeep removes its row.
        """

    async def delete_file(self, tenant: str, container_id: str, file_id: str) -> Sequence[str]:
        """Delete the row of a file; return the unreferenced blobs. NotFoundError if there is no such file."""
