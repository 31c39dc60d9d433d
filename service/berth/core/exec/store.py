"""ExecStore: the port for the rows of execs, their output, and the leases under which they run."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from berth.core.errors import ContainerBusyError
from berth.core.exec.sandbox import Stream
from berth.core.ports.blob_store import StoredContent
from berth.core.ports.container_store import Quotas, StoredChanges
from berth.core.ports.pages import Page, Pagination
from berth.v1.exec_pb2 import Exec, ExecDisplay

MAX_KEPT = 100
"""How many execs of a container are kept: the last ones, and the last one of each of as many sessions."""
MAX_MORE = 20
"""How many more there may be: the others are removed together, since that takes as long as the start of an exec."""
MAX_FILES = 2000
"""How many files a result names: of more, with long paths, it could not be sent."""
PNG = "image/png"
LEASE_SECONDS = 15
"""How long the right to run a command in a container lasts unless it is renewed."""


class ExecOutput(NamedTuple):
    """A part of the output of a command: the event with the number `sequence`."""

    sequence: int
    stream: Stream
    text: str


class ExecOwner(NamedTuple):
    """An exec, and the process that runs it."""

    exec_id: str
    process: str


class ExecSignals(NamedTuple):
    """What the process that runs a command has to know: whether it may go on, and whether it has to end it."""

    is_held: bool
    is_cancelled: bool


class WrittenFile(NamedTuple):
    """A file that was written: its absolute path and its content. `file_id` becomes its id if it is new."""

    path: str
    stored: StoredContent
    file_id: str
    content_type: str
    source: str = "assistant"


class RemovedFile(NamedTuple):
    """A file that a command removed, as the command saw it."""

    file_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class FileChanges:
    """What a command changed in the files of its container, with content that is in the BlobStore.

    `displayed` are the absolute paths of the written files that are pictures which the code displayed.
    """

    written: Sequence[WrittenFile] = ()
    removed: Sequence[RemovedFile] = ()
    displayed: Sequence[str] = ()


NO_CHANGES = FileChanges()


def with_files(exec_: Exec, changes: FileChanges, stored: StoredChanges) -> Exec:
    """Return a copy of an exec with the first MAX_FILES that were stored, and all that were displayed."""
    result = Exec()
    result.CopyFrom(exec_)
    del result.files[:]
    result.files.extend(stored.files[:MAX_FILES])
    ids = {file.path: file.id for file in stored.files}
    displayed = (path for path in changes.displayed if path in ids)
    result.displays.extend(ExecDisplay(mime_type=PNG, file_id=ids[path]) for path in displayed)
    return result


class ExecStore(Protocol):
    """The execs of hosted containers. Any method may raise StorageError.

    Times are those of the database, which all processes share. An exec without a result, which no process holds any
    more, is read as completed with the outcome "lost". Execs are removed with their container.
    """

    async def start(
        self, tenant: str, exec_: Exec, *, process: str, attempt: str | None, key: str, is_awaited: bool = False
    ) -> str | None:
        """Add a running exec, held by `process` for LEASE_SECONDS, to its container; this counts as activity.

        It is counted in the usage of the key with the name `key`, and how long it ran when it is finished. Return the
        id of the exec before it in its session, None if there is none, or if it is not kept any more since as many as
        MAX_KEPT other sessions were used after it.

        If its end `is_awaited`, no caller learns of it before: then a failure of the power may undo its start, unless
        it has an `attempt`, which must not start another one.

        NotFoundError if the tenant has no such container; ContainerExpiredError if it is expired; ContainerBusyError
        while another exec of it is held; StorageError (ID_TAKEN) if there is an exec with this attempt. Of the execs of
        the container, only the last MAX_KEPT are kept, and the last one of each of the last MAX_KEPT sessions, and
        MAX_MORE for a while.
        """

    async def renew(self, owner: ExecOwner) -> ExecSignals:
        """Hold a running exec for another LEASE_SECONDS, if it is still held; this counts as activity."""

    async def signals(self, owner: ExecOwner) -> ExecSignals:
        """Return the signals for a running exec; it is not held any more if its container was deleted."""

    async def append(self, owner: ExecOwner, output: Sequence[ExecOutput]) -> None:
        """Add output to a running exec, if it is still held."""

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
        """Store the result of a running exec, all of its output, and its changes: all or nothing.

        A file that was written gets its content at its path: the file that is there now keeps its id, and otherwise it
        is a new one. A file that was removed is deleted unless its content was changed or it was deleted meanwhile.
        `exec_.files` is not read: the stored result is that of `with_files`.

        NotFoundError if the exec is not held any more; InvalidRequestError if the container or the tenant would exceed
        its quota.
        """

    async def count_lost(self, tenant: str, container_id: str, *, key: str, milliseconds: int) -> None:
        """Count how long an exec ran of which the result cannot be stored, in the usage of the key with this name.

        Nothing is counted if the tenant never had the container, or it was deleted long ago.
        """

    async def get(self, tenant: str, container_id: str, exec_id: str) -> Exec:
        """Return an exec without its output. NotFoundError if the tenant has no such exec in the container."""

    async def output(self, tenant: str, container_id: str, exec_id: str, *, after: int = 0) -> Sequence[ExecOutput]:
        """Return the output of an exec that comes after an event, as far as it is stored; empty if there is no exec."""

    async def list(self, tenant: str, container_id: str, pagination: Pagination) -> Page[Exec]:
        """Return a page of the execs of a container without their output; empty if there is no such container.

        InvalidRequestError (param `after`) if the container has no exec with the id `pagination.after`.
        """

    async def cancel(self, tenant: str, container_id: str, exec_id: str) -> None:
        """Ask the process that runs an exec to end it. NotFoundError if there is no such exec."""

    async def find(self, tenant: str, attempt: str) -> tuple[str, str] | None:
        """Return the ids of the container and the exec that an attempt started, None if there is none."""


async def require_idle(store: ExecStore, tenant: str, container_id: str) -> None:
    """Raise ContainerBusyError if a command runs in a container, which only the newest one can do."""
    newest = await store.list(tenant, container_id, Pagination(limit=1))
    if any(exec_.status == "running" for exec_ in newest.data):
        raise ContainerBusyError
