"""A random test of CachedBackend: reads, writes, failures, cancellations and passing time, in every order."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from berth.core.caching.settling import SETTLING_SECONDS
from berth.core.caller import Caller, Options
from berth.core.errors import NotFoundError, UpstreamError
from berth.core.ports.response_cache import ResponseCache
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import DeleteContainerFileRequest
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import DeleteContainerRequest
from support.fakes.caching import ASKING, DEFAULT_TTL_SECONDS, DictCache, World, asking, cached
from support.fakes.stores import FixedClock, SequentialIds
from support.fakes.uploads import GivenUpload

PLENTY = 20
"""Turns of the loop after which nothing moves any more but by the next rule: each takes fewer than ten."""

OTHERS = [
    replace(ASKING, tenant="theirs"),
    replace(ASKING, options=Options()),
    asking(cache_ttl_seconds=5),
    asking(cache_store=False),
]
callers = st.sampled_from([ASKING] * 12 + OTHERS)
containers = st.sampled_from(["cntr_1"] * 5 + ["cntr_2"])
writes = st.sampled_from(["upload"] * 10 + ["delete file"] * 5 + ["delete"])  # what is deleted shows little more
steps = st.sampled_from(["go on"] * 12 + ["fail", "cancel", "cancel", "all go on"])


@dataclass
class Read:
    """A read that runs, what was true when it began, and when that was."""

    task: "asyncio.Task[Container] | asyncio.Task[ContainerFile]"
    tenant: str
    container_id: str
    count_then: int | None
    failures_then: int


class CachedWorld(RuleBasedStateMachine):
    """A backend that waits at every step for a rule to let it go on, behind a cache.

    Every answer must have been true at some moment between the beginning of the
    read and its end; every hit must be of an entry that somebody was told of,
    whose time was not up, and must have asked nobody.
    """

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.world = World(self.clock())
        self.world.behind.gated = True
        ids, backend = SequentialIds(), self.world.behind.as_backend()
        self.replicas = [cached(backend, self.world.clock, cache=cache, new_id=ids) for cache in self.caches()]
        self.world.backend = self.replicas[0]
        self.reads: list[Read] = []
        self.writes: list[asyncio.Task[Any]] = []
        self.gone: list[asyncio.Task[Any]] = []  # whose callers went away
        self.entries: dict[str, int] = {}  # when those were written that somebody was told of
        self.failures = 0
        self.begun = self.hits = 0

    def clock(self) -> FixedClock:
        return FixedClock()

    def caches(self) -> list[ResponseCache]:
        """Return the cache of each replica."""
        return [DictCache(self.world.clock)]

    @rule(caller=callers, container_id=containers, whole=st.booleans(), hasty=st.booleans())
    def read(self, caller: Caller, container_id: str, *, whole: bool, hasty: bool) -> None:
        retrieve = self.world.container if whole else self.world.file
        count = self.world.behind.count(caller.tenant, container_id)
        self.begun += 1
        task = self._start(retrieve(caller, container_id=container_id), hasty=hasty)
        self.reads.append(Read(task, caller.tenant, container_id, count, self.failures))

    @rule(caller=callers, container_id=containers, kind=writes, hasty=st.booleans())
    def write(self, caller: Caller, container_id: str, *, kind: str, hasty: bool) -> None:
        work: Coroutine[Any, Any, Any]
        backend = self.world.backend
        if kind == "upload":
            work = backend.create_container_file(caller, GivenUpload(container_id))
        elif kind == "delete file":
            work = backend.delete_container_file(caller, DeleteContainerFileRequest(container_id=container_id))
        else:
            work = backend.delete_container(caller, DeleteContainerRequest(container_id=container_id))
        self.writes.append(self._start(work, hasty=hasty))

    @rule(step=steps, data=st.data())
    def step(self, step: str, data: st.DataObject) -> None:
        """Let one of those who wait go on, or all, or one of the callers go away."""
        if step == "all go on":
            self._finish()
        elif step == "cancel":
            self._cancel(data)
        elif self.world.behind.gates:
            self._go_on(data, failing=step == "fail")

    @rule(seconds=st.sampled_from([1, 1, 1, 4, 5, 59, 60, 299, 300]))
    def let_time_pass(self, seconds: int) -> None:
        """Advance the clock; a write that nobody waits for has taken effect before it is supposed to have."""
        if seconds >= SETTLING_SECONDS - 1:
            self._finish()
        self.world.clock.advance(seconds)

    @invariant()
    def nothing_is_stale(self) -> None:
        done = [read for read in self.reads if read.task.done()]
        self.reads = [read for read in self.reads if not read.task.done()]
        for read in done:
            assert not read.task.cancelled() or read.task in self.gone
            if not read.task.cancelled():
                self._check(read)

    @invariant()
    def writes_fail_as_they_may(self) -> None:
        done = [write for write in self.writes if write.done()]
        self.writes = [write for write in self.writes if not write.done()]
        for write in done:
            error = None if write.cancelled() else write.exception()
            assert error is None or isinstance(error, NotFoundError | UpstreamError)

    @invariant()
    def calls_are_counted(self) -> None:
        """Each read is a hit or makes at most one call, also when it joins another's."""
        assert self.world.reads <= self.begun - self.hits

    def teardown(self) -> None:
        self._finish()
        self.nothing_is_stale()
        self.writes_fail_as_they_may()
        self.close()
        self.runner.close()

    def close(self) -> None:
        """Close what the caches have opened."""

    def _go_on(self, data: st.DataObject, *, failing: bool) -> None:
        self.failures += failing
        self.world.behind.error = UpstreamError("It failed.") if failing else None
        data.draw(st.sampled_from(self.world.behind.gates)).set_result(None)
        self._settle()
        self.world.behind.error = None

    def _finish(self) -> None:
        while self.world.behind.gates:
            for gate in self.world.behind.gates:
                gate.set_result(None)
            self._settle()

    def _cancel(self, data: st.DataObject) -> None:
        """Have a caller go away; what it is writing may be written nonetheless."""
        tasks = [read.task for read in self.reads] + self.writes
        running = [task for task in tasks if not task.done()]
        if running:
            task = data.draw(st.sampled_from(running))
            task.cancel()
            self.gone.append(task)
            self._settle()

    def _check(self, read: Read) -> None:
        now = self.world.behind.count(read.tenant, read.container_id)
        error = read.task.exception()
        if error is not None:
            assert isinstance(error, NotFoundError | UpstreamError)
            assert now is None or self.failures > read.failures_then
            return
        answer = read.task.result()
        count = int(answer.name if isinstance(answer, Container) else answer.path)
        assert read.count_then is not None, "it was deleted before"
        assert read.count_then <= count
        assert now is None or count <= now
        self._check_entry(answer)

    def _check_entry(self, answer: Container | ContainerFile) -> None:
        told = answer.extra_fields.cache_debug
        if told.cache_hit:
            self.hits += 1
            assert self.world.clock.now - self.entries[told.cache_id] < DEFAULT_TTL_SECONDS
        elif told.HasField("cache_id"):
            self.entries.setdefault(told.cache_id, self.world.clock.now)

    def _start(self, operation: Coroutine[Any, Any, Any], *, hasty: bool) -> "asyncio.Task[Any]":
        """Start `operation`, which passes all gates at once if it is `hasty`."""
        task = self.runner.get_loop().create_task(operation)
        self.world.behind.gated = not hasty
        self._settle()
        self.world.behind.gated = True
        return task

    def _settle(self) -> None:
        self.runner.run(self.settled())

    async def settled(self) -> None:
        """Return when nothing moves any more but by the next rule."""
        for _ in range(PLENTY):
            await asyncio.sleep(0)
