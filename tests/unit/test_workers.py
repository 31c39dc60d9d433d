"""What several workers do differently, and how their supervisor adds up metrics, without processes."""

import io
import os
import select
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from unittest.mock import AsyncMock

import pytest
import structlog
from structlog.testing import capture_logs

from berth.adapters.memory.cache import MemoryCache
from berth.adapters.prometheus.merged import counts, merged
from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.app.listeners import Listeners
from berth.app.workers.assignment import Role
from berth.app.workers.pool import WorkerPool
from berth.app.workers.sharing import caches_responses, warn_about_workers
from berth.config import load
from berth.core.caller import Options
from berth.core.ports.response_cache import CachedAnswer, CacheKey
from berth.launch.process.restarts import BACK_OFF_SECONDS, keep_running
from berth.launch.workers.process import WorkerProcess
from berth.telemetry.writer import ThreadedWriter
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import FixedClock

CALL = {"request_type": "container_list", "provider": "ollama", "status": "OK"}
CACHING = {
    "BERTH_PROVIDERS": '{"openai": {"backend": "openai", "keys": [{"name": "a", "value": "b"}], "cache_seconds": 60}}'
}
SHARED_LIMITS = {"BERTH_LIMITS__URL": "valkey://127.0.0.1:1/0"}
SHARED_CACHE = {"BERTH_CACHE__URL": "valkey://127.0.0.1:1/1"}


def worker(calls: int, seconds: float) -> PrometheusMetrics:
    """Return the metrics of a worker that has answered `calls`, and is answering one more."""
    metrics = PrometheusMetrics(lambda: 2)
    for _ in range(calls):
        metrics.call_began()
        metrics.call_ended("container_list", provider="ollama", status="OK", seconds=seconds)
    metrics.call_began()
    return metrics


def test_metrics_of_workers_are_added() -> None:
    """Calls, buckets and gauges are sums; a worker that has ended adds what it has counted, but runs no call."""
    running, other, ended = worker(3, 0.003), worker(2, 2), worker(1, 0.003)
    both = merged([running.snapshot(), other.snapshot(), counts(ended.snapshot())])
    values = {
        (sample.name, sample.labels.get("le")): sample.value
        for metric in both
        for sample in metric.samples
        if CALL.items() <= sample.labels.items() or not sample.labels
    }
    assert values["berth_call_seconds_count", None] == 6
    assert values["berth_call_seconds_sum", None] == pytest.approx(4.012)
    assert (values["berth_call_seconds_bucket", "0.005"], values["berth_call_seconds_bucket", "+Inf"]) == (4, 6)
    assert values["berth_calls_in_flight", None] == 2
    assert values["berth_log_lines_dropped_total", None] == 6
    created = [metrics.value("berth_call_seconds_created", **CALL) for metrics in (running, other, ended)]
    assert values["berth_call_seconds_created", None] == min(filter(None, created))


def test_facts_and_times_of_workers_are_not_added() -> None:
    """The version is still 1, the start is that of the first process, and the last sweep that of the last one."""
    running, other = PrometheusMetrics(version="1"), PrometheusMetrics(version="1")
    other.sweep_ended("done", {}, seconds=1)
    both = {
        sample.name: sample.value
        for metric in merged([running.snapshot(), other.snapshot()])
        for sample in metric.samples
    }
    assert both["berth_build_info"] == 1
    assert both["berth_last_sweep_timestamp_seconds"] == other.value("berth_last_sweep_timestamp_seconds")
    assert both["process_start_time_seconds"] == running.value("process_start_time_seconds")


@pytest.mark.parametrize(
    ("environ", "workers", "events"),
    [
        (CACHING, 1, []),
        ({}, 2, ["limits.per_worker"]),
        (CACHING, 2, ["limits.per_worker", "cache.off"]),
        (SHARED_LIMITS, 2, []),
        (CACHING | SHARED_LIMITS | SHARED_CACHE, 2, []),
    ],
)
def test_what_workers_do_not_share_is_logged(environ: Mapping[str, str], workers: int, events: list[str]) -> None:
    """There is one warning for each, at the start, and none for a single process."""
    with capture_logs() as logs:
        warn_about_workers(load(None, environ), workers, structlog.get_logger())
    assert [log["event"] for log in logs] == events


async def test_several_workers_cache_nothing_in_memory() -> None:
    """What one of them had cached, the others would not know to be outdated."""
    config = load(None, CACHING)
    assert (caches_responses(config, 1), caches_responses(config, 2)) == (True, False)
    assert caches_responses(load(None, CACHING | SHARED_CACHE), 2)
    cache = MemoryCache(0, timer=FixedClock())
    provider = Provider.PROVIDER_OPENAI
    key = CacheKey("a", None, provider, "", "retrieve", "c", "", provider, Options())
    _, version = await cache.find(key)
    assert version is not None
    assert not await cache.put(key, CachedAnswer("id", b""), version=version, ttl_seconds=60)
    assert (await cache.find(key)).answer is None


class Asked:
    """A worker that notes what it is asked for, and has something done when it is asked to watch."""

    pid = 1

    def __init__(self, at_watch: Callable[[], Awaitable[None]]) -> None:
        self.questions: list[tuple[object, ...]] = []
        self._at_watch = at_watch

    async def wait_until_ready(self, _: float | None) -> None:
        """Return at once."""

    async def ask(self, *question: object) -> None:
        """Note a question; nothing has to be done."""
        self.questions.append(question)
        if question[0] == "watch":
            await self._at_watch()

    async def stop(self, _: float) -> None:
        """Do nothing."""


@pytest.mark.parametrize("earlier", [0, 1])
async def test_a_reload_while_a_worker_is_told_what_it_missed(monkeypatch: pytest.MonkeyPatch, earlier: int) -> None:
    """A worker that has just started uses the newest configuration in the end, also at the first reload."""
    ports = {"BERTH_LISTEN__GRPC": "127.0.0.1:0"}
    configs = [load(None, ports | {"BERTH_IDEMPOTENCY__HOURS": hours}) for hours in ("1", "2")]
    async with AsyncExitStack() as stack:
        writer = ThreadedWriter(io.FileIO(os.devnull, "w"))
        log = structlog.wrap_logger(None, processors=[lambda *_: ""])
        listeners = Listeners(configs[0], stack, rest=False, shared={}, log=log)
        role = Role(rest=False, is_shared=False, first_key=None, workers=1)
        pool = WorkerPool(configs[0], stack, listeners, role, private=Path(), json_log=True, log=log, log_writer=writer)
        worker = Asked(lambda: pool.reload(configs[1]))
        monkeypatch.setattr(WorkerProcess, "start", AsyncMock(return_value=worker))
        await pool.watch(None)
        for config in configs[:earlier]:
            await pool.reload(config)
        await pool.start()
        assert worker.questions[-1] == ("reload", configs[1])


async def test_a_process_that_never_starts_is_given_up() -> None:
    """After as many restarts in a row as there are delays, and the reason is that of the first failure."""
    restarts: list[str] = []

    async def failure() -> str:
        return "ended"

    async def restart(reason: str) -> bool:
        restarts.append(reason)
        return False

    reason = await keep_running(failure, restart, delays=(0.0,) * len(BACK_OFF_SECONDS))
    assert restarts == ["ended"] * len(BACK_OFF_SECONDS)
    assert reason == "ended; 5 restarts in a row have failed"


class Pieces(io.RawIOBase):
    """A sink that remembers what it is given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.pieces.append(bytes(memoryview(data)))  # type: ignore[arg-type] # a buffer
        return len(self.pieces[-1])


def test_lines_of_workers_are_not_mixed() -> None:
    """A shared sink gets whole lines, as many as a pipe takes in one piece, or one that is longer."""
    sink = Pieces()
    writer = ThreadedWriter(sink)
    writer.share()
    lines = [b"%d " % number + b"x" * 500 + b"\n" for number in range(100)]
    lines[50:50] = [b"y" * (2 * select.PIPE_BUF) + b"\n"]
    for line in lines:
        writer.write(line)
    writer.finish()
    assert b"".join(sink.pieces) == b"".join(lines)
    assert all(piece.endswith(b"\n") for piece in sink.pieces)
    assert [piece.count(b"\n") for piece in sink.pieces if len(piece) > select.PIPE_BUF] == [1]
