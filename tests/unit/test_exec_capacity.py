"""The memory that commands share: who waits for it, and for whom there is a place to wait."""

import asyncio

import pytest

from berth.core.errors import RateLimitError
from berth.core.exec.capacity import ExecCapacity


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
