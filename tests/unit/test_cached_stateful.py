"""CachedBackend under random reads, writes, failures, cancellations and passing time, in every order: never stale."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from berth.adapters.memory.cache import ENTRY_BYTES, MemoryCache
from berth.core.ports.response_cache import ResponseCache
from support.fakes.cached_world import CachedWorld


class SmallCachedWorld(CachedWorld):
    """The same with a cache that has room for three answers."""

    def caches(self) -> list[ResponseCache]:
        return [MemoryCache(3 * (ENTRY_BYTES + 1000), timer=self.world.clock)]


EFFORT = settings(max_examples=100, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("machine", [CachedWorld, SmallCachedWorld])
def test_the_cache_is_never_stale(machine: type[CachedWorld]) -> None:
    """However reads, writes, failures, departures and time follow each other, every answer was true meanwhile."""
    run_state_machine_as_test(machine, settings=EFFORT)
