"""How long a call waits for its caller."""

import pytest

from berth.core.errors import SlowRequestError
from berth.rpc.patience import Patience, Waiting


def begun(patience: Patience, size: int = 0) -> Waiting:
    """Return the waiting of a call whose first message has arrived, with `size` bytes."""
    waiting = Waiting(patience)
    waiting.count(size, 3.0)
    return waiting


def test_the_first_message_must_come_soon() -> None:
    """It has 10 seconds, and what it took does not count later."""
    assert Waiting(Patience()).seconds() == 10
    assert begun(Patience(bytes_per_second=1)).seconds() == 60


def test_a_body_has_a_minimum_rate() -> None:
    """Each byte that has arrived gives time for the next ones, and a minute may pass without any."""
    waiting = begun(Patience(bytes_per_second=1000), 10_000)
    assert waiting.seconds() == 70
    waiting.count(0, 69.0)
    assert waiting.seconds() == 1
    waiting.count(0, 1.0)
    with pytest.raises(SlowRequestError, match="at least 1000 bytes per second"):
        waiting.seconds()


def test_a_json_body_has_a_total_time() -> None:
    """However fast it arrives, a JSON body has so many seconds and no more."""
    waiting = begun(Patience(json_seconds=5, bytes_per_second=0), 10_000_000)
    assert waiting.seconds() is None
    waiting.expect_json()
    assert 4 < (waiting.seconds() or 0) <= 5


def test_without_a_rate_there_is_no_limit() -> None:
    """A minimum of 0 bytes per second is none."""
    waiting = begun(Patience(bytes_per_second=0))
    waiting.count(1, 100_000.0)
    assert waiting.seconds() is None
