"""The stores of execs and of containers, with a container in which execs are started and finished."""

from dataclasses import dataclass

from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.exec.store import SqlExecs
from berth.adapters.sql.usage.store import SqlUsage
from berth.core.exec.sandbox import Stream
from berth.core.exec.store import NO_CHANGES, ExecOutput, FileChanges
from berth.core.ports.container_store import UNLIMITED, Quotas, StoredChanges
from berth.core.ports.pages import Pagination
from berth.v1.exec_pb2 import Exec, ExecOutcome
from support.fakes.stores import FixedClock


@dataclass
class Stores:
    """The stores of execs and of containers on one database, and their clock."""

    execs: SqlExecs
    containers: SqlStore
    usage: SqlUsage
    clock: FixedClock

    before: str | None = None

    async def start(
        self, name: str = "one", *, attempt: str | None = None, process: str = "p", session: str | None = None
    ) -> Exec:
        """Start an exec in the container "box"; note which one was before it in its session."""
        exec_ = Exec(
            id=f"exec_{name}",
            object="container.exec",
            container_id="box",
            status="running",
            isolation="none",
            created_at=self.clock(),
            session=session,
        )
        self.before = await self.execs.start("ours", exec_, process=process, attempt=attempt, key="ours")
        return exec_

    async def finish(
        self, exec_: Exec, *, changes: FileChanges = NO_CHANGES, quotas: Quotas = UNLIMITED, process: str = "p"
    ) -> StoredChanges:
        """Finish an exec with exit code 0 and some output."""
        ended = Exec()
        ended.CopyFrom(exec_)
        ended.status = "completed"
        ended.outcome.CopyFrom(ExecOutcome(type="exit", exit_code=0))
        output = [ExecOutput(2, Stream.STDOUT, "a\0"), ExecOutput(3, Stream.STDERR, "b")]
        return await self.execs.finish("ours", ended, process=process, output=output, changes=changes, quotas=quotas)

    async def paths(self) -> dict[str, tuple[str, int, str]]:
        """Return the id, size and source of each file, by path."""
        page = await self.containers.list_files("ours", "box", Pagination(100))
        return {one.file.path: (one.file.id, one.file.bytes, one.file.source) for one in page.data}
