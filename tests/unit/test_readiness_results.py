"""The results of checks that anybody may ask for."""

import asyncio

from berth.app.readiness import CACHE_SECONDS, CONTENT, LISTENER, STORE, Readiness
from berth.core.errors import StorageError

ASKERS = 200


class Counted:
    """A check that counts how often it runs, and fails when it should."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails = False

    async def __call__(self) -> None:
        """Pass or fail, a moment later."""
        self.runs += 1
        await asyncio.sleep(0)
        if self.fails:
            raise StorageError("away")


async def test_many_ask_for_one_check() -> None:
    """Whoever asks within a second gets the same results, and every check runs once."""
    store, content = Counted(), Counted()
    readiness = Readiness()
    readiness.begin({STORE: store, CONTENT: content})
    results = await asyncio.gather(*(readiness.results() for _ in range(ASKERS)))
    assert (store.runs, content.runs, CACHE_SECONDS) == (1, 1, 1.0)
    assert results == [{STORE: True, CONTENT: True, LISTENER: True}] * ASKERS


async def test_a_failed_check_is_named() -> None:
    """A check that fails does not keep the others from passing."""
    store = Counted()
    store.fails = True
    readiness = Readiness()
    readiness.begin({STORE: store, CONTENT: Counted()})
    assert await readiness.results() == {STORE: False, CONTENT: True, LISTENER: True}


async def test_a_service_that_starts_or_stops_is_not_ready() -> None:
    """The listener is ready between the start and the end of the service, whatever checks say."""
    readiness = Readiness()
    assert await readiness.results() == {LISTENER: False}
    readiness.begin({STORE: Counted()})
    assert await readiness.results() == {STORE: True, LISTENER: True}
    readiness.resign()
    assert await readiness.results() == {STORE: True, LISTENER: False}
