"""The service as several processes, the workers, which this process starts, restarts and stops."""

import asyncio
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path

from prometheus_client import Metric
from structlog.typing import FilteringBoundLogger

from berth.adapters.prometheus.merged import MergedMetrics, counts, merged
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.app.listeners import GRACE_SECONDS, Listeners
from berth.app.sources import version
from berth.app.workers.assignment import Assignment, Role
from berth.config import Config
from berth.core.background import cancelled, first_of
from berth.launch.address import Address
from berth.launch.process.restarts import keep_running
from berth.launch.refusal import ProcessEndedError, StartError
from berth.launch.workers.process import START_SECONDS, WorkerProcess
from berth.telemetry.writer import ThreadedWriter

ANSWER_SECONDS = 2.0
"""How long a worker may take to answer; longer than that, it is left out."""
STOP_SECONDS = GRACE_SECONDS + 15.0
"""How long a worker may take to stop: running calls, and what runs in the background after them."""
_MODULE = "berth.app.workers.worker"
_NO_ANSWER = object()


class WorkerPool:
    """The service in `role.workers` processes, until `stack` is closed; each does what LocalService does in one."""

    def __init__(
        self,
        config: Config,
        stack: AsyncExitStack,
        listeners: Listeners,
        role: Role,
        *,
        private: Path,
        json_log: bool,
        log: FilteringBoundLogger,
        log_writer: ThreadedWriter,
    ) -> None:
        self.metrics = MergedMetrics(self._collect_in_thread)
        self._config = config
        self._stack = stack
        self._listeners = listeners
        self._role = role
        self._private = private
        self._json_log = json_log
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._workers: dict[int, WorkerProcess] = {}
        self._reloaded: Config | None = None
        self._told: dict[str, tuple[object, ...]] = {}
        self._own = PrometheusMetrics(lambda: log_writer.dropped, version=version())
        self._latest: dict[int, list[Metric]] = {}
        self._ended: list[Metric] = []
        log_writer.share()

    async def open(self) -> None:
        """Do nothing: each worker opens the stores when it starts."""

    async def start(self) -> Address:
        """Start all workers; return the address of gRPC. StartError if one of them cannot start.

        The first one starts alone: it creates and migrates what all use.
        """
        self._grpc = self._listeners.reserve_grpc()
        self._stack.push_async_callback(self._stop)
        await self._start(0, seconds=None)
        starting = [asyncio.create_task(self._start(index)) for index in range(1, self._role.workers)]
        try:
            await asyncio.gather(*starting)
        finally:
            for task in starting:
                await cancelled(task)
        return self._grpc

    async def watch(self, rest: Address | None) -> None:
        """Have the workers report whether the store and the Envoy at `rest` answer."""
        await self._tell("watch", rest)

    async def reload(self, config: Config) -> None:
        """Have the workers use the callers and the keys at providers of another configuration."""
        self._reloaded = config
        await self._tell("reload", config)

    async def resign(self) -> None:
        """Have the workers report NOT_SERVING but go on serving."""
        await self._ask_all("resign")

    async def close_ports(self) -> None:
        """Have the workers accept no more connections, except from the own Envoy."""
        await self._ask_all("close_ports")

    async def ended(self) -> None:
        """Restart workers that end or hang, until cancelled; raise ProcessEndedError if one does so again and again."""
        await first_of(*map(self._keep, range(self._role.workers)))

    async def _keep(self, index: int) -> None:
        reason = await keep_running(partial(self._failure, index), partial(self._restart, index))
        raise ProcessEndedError(f"worker {index} {reason}")

    async def _failure(self, index: int) -> str:
        """Wait until a worker fails; return how."""
        reason = await self._workers[index].failure()
        del self._workers[index]
        self._ended = merged([self._ended, counts(self._latest.pop(index, []))])
        self._log.error("worker.ended", worker=index, reason=reason)
        return reason

    async def _restart(self, index: int, _reason: str) -> bool:
        """Start a worker again; return whether it has started."""
        try:
            await self._start(index)
        except (StartError, OSError) as error:  # OSError: no descriptor or no memory for another process
            self._log.error("worker.restart_failed", worker=index, reason=str(error))
            return False
        return True

    async def _start(self, index: int, seconds: float | None = START_SECONDS) -> None:
        assignment = Assignment(
            index=index,
            config=self._config,
            reloaded=self._reloaded,
            role=self._role,
            grpc=self._grpc,
            private=self._private,
            json_log=self._json_log,
        )
        worker = await WorkerProcess.start(_MODULE, assignment)
        await worker.wait_until_ready(seconds)
        self._workers[index] = worker
        for name in list(self._told):  # all are told something else meanwhile, such as at a reload
            await self._ask(worker, name, *self._told[name])
        self._log.info("worker.started", worker=index, process=worker.pid)

    async def _tell(self, name: str, *arguments: object) -> None:
        """Ask all workers, also those that start later, and wait until those that run have done it."""
        self._told[name] = arguments
        await self._ask_all(name, *arguments)

    async def _ask_all(self, name: str, *arguments: object) -> dict[int, object]:
        """Return the answers by worker, of those that answer."""
        asked = [(index, worker, self._ask(worker, name, *arguments)) for index, worker in self._workers.items()]
        answers = await asyncio.gather(*(answer for _, _, answer in asked))
        return {
            index: answer
            for (index, worker, _), answer in zip(asked, answers, strict=True)
            if answer is not _NO_ANSWER and self._workers.get(index) is worker
        }

    async def _ask(self, worker: WorkerProcess, name: str, *arguments: object) -> object:
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                return await worker.ask(name, *arguments)
        return _NO_ANSWER

    async def _stop(self) -> None:
        if self._config.telemetry.metrics_seconds:
            await self._collect()  # it is sent when the workers have ended
        await asyncio.gather(*(worker.stop(STOP_SECONDS) for worker in self._workers.values()))

    def _collect_in_thread(self) -> list[Metric]:
        return asyncio.run_coroutine_threadsafe(self._collect(), self._loop).result(2 * ANSWER_SECONDS)

    async def _collect(self) -> list[Metric]:
        """Return the sum of the metrics of all workers, with those that have ended, and of this process."""
        self._latest.update(await self._ask_all("metrics"))  # type: ignore[arg-type] # what the worker answers
        return merged([self._own.snapshot(), self._ended, *self._latest.values()])
