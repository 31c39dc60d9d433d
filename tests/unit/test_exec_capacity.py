"""The memory that commands share: who waits for it, and for whom there is a place to wait."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog

from berth.app.execs import OFF, memory_of_machine, open_sandbox, share_of_memory
from berth.config import Config
from berth.config.model import Exec
from berth.core.errors import RateLimitError
from berth.core.exec.capacity import ExecCapacity
from berth.core.exec.hosted import GIBIBYTE


def waiting(capacity: ExecCapacity, tenant: str) -> asyncio.Task[None]:
    """Ask for one byte."""
    return asyncio.create_task(capacity.take(1, tenant))


async def test_a_tenant_alone_waits_for_its_own_commands() -> None:
    """Without shares of tenants, a command waits for memory also if its own tenant has all of it."""
    capacity = ExecCapacity(2, wait_seconds=60)
    await capacity.take(2, "a")
    task = waiting(capacity, "a")
    await asyncio.sleep(0)
    assert capacity.is_awaited
    capacity.give(2, "a")
    await task
    assert capacity.has(1, "a")
    assert not capacity.has(2, "a")


async def test_a_tenant_has_some_of_the_places_to_wait() -> None:
    """Of 17 commands of a tenant that would wait one is refused at once, and others wait beside the 16."""
    capacity = ExecCapacity(1, wait_seconds=60)
    await capacity.take(1, "a")
    tasks = [waiting(capacity, "a") for _ in range(16)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimitError):
        await capacity.take(1, "a")
    tasks.append(waiting(capacity, "b"))
    await asyncio.sleep(0)
    assert not tasks[-1].done()
    for tenant in "a" * 17:
        capacity.give(1, tenant)
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)


@pytest.mark.parametrize(
    ("gibibytes", "workers", "share"), [(16, 1, 16), (16, 4, 4), (2, 4, 1), (0.5, 2, 0.5), (0.5, 1, 0.5)]
)
def test_workers_share_the_memory_of_the_machine(gibibytes: float, workers: int, share: float) -> None:
    """Together they have all of it; each has enough for the smallest container if the machine has."""
    assert share_of_memory(int(gibibytes * GIBIBYTE), workers) == share * GIBIBYTE


@pytest.mark.parametrize("given", [None, 5 * GIBIBYTE])
async def test_a_worker_has_its_share_or_what_is_configured(given: int | None, tmp_path: Path) -> None:
    """What is configured is that of a process, and is not divided."""
    config = Config(data_dir=tmp_path, exec=Exec(driver="off", capacity_bytes=given))
    async with AsyncExitStack() as stack:
        opened = await open_sandbox(config, stack, lambda *_: OFF, structlog.get_logger(), workers=2)
    assert opened.capacity_bytes == (given or share_of_memory(memory_of_machine(), 2))
