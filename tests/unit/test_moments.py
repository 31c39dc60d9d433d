"""Times and durations in options of commands."""

import pytest

from berth.commands.terminal.moments import parse_duration, parse_time
from berth.core.auth.virtual_keys import LATEST_TIME
from berth.launch.refusal import StartError

NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1s", NOW + 1),
        ("36500d", NOW + 36_500 * 86_400),
        ("2023-11-14T22:13:21Z", NOW + 1),
        ("9999-12-31T23:59:59-14:00", LATEST_TIME),
    ],
)
def test_a_time_lies_in_the_future(text: str, at: int) -> None:
    """A duration counts from now, and no time is after the year 9999."""
    assert parse_time(text, NOW, option="--expires") == at


@pytest.mark.parametrize("text", ["0d", "0s", "2023-11-14T22:13:20Z", "0001-01-01T00:00:00+14:00"])
def test_a_time_that_is_over_is_refused(text: str) -> None:
    """A key that has expired when it is created is a mistake."""
    with pytest.raises(StartError, match=r"^--expires: must be in the future"):
        parse_time(text, NOW, option="--expires")


@pytest.mark.parametrize("text", ["36501d", "999999999d", "999999999h"])
def test_a_duration_has_a_maximum(text: str) -> None:
    """A hundred years are more than a typing mistake."""
    with pytest.raises(StartError, match=r"^--overlap: must be at most 36500d$"):
        parse_duration(text, "--overlap")
    with pytest.raises(StartError, match=r"^--expires: must be at most 36500d$"):
        parse_time(text, NOW, option="--expires")
