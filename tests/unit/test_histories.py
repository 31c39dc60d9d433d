"""The judge of histories: what it accepts, and what it does not."""

from math import inf

import pytest

from support.measuring.histories import GONE, Step, is_linearizable

CREATED = Step("create", 0, 1, answer="ok")
UPLOADED = Step("upload", 2, 3, "a", "ok")
A, NOTHING = frozenset({"a"}), frozenset[str]()


@pytest.mark.parametrize(
    "steps",
    [
        [UPLOADED, Step("list", 4, 5, answer=A), Step("delete", 6, 7, answer="ok"), Step("list", 8, 9, answer=GONE)],
        [UPLOADED, Step("list", 2, 3, answer=NOTHING)],
        [Step("upload", 2, inf, "a"), Step("list", 3, 4, answer=NOTHING), Step("list", 5, 6, answer=A)],
        [Step("upload", 2, inf, "a"), Step("list", 3, 4, answer=NOTHING)],
        [UPLOADED, Step("delete file", 4, inf, "a"), Step("read", 5, 6, "a", "ok"), Step("read", 7, 8, "a", GONE)],
        [UPLOADED, Step("delete", 4, inf), Step("list", 5, 6, answer=A), Step("retrieve", 7, 8, answer=GONE)],
        [UPLOADED, Step("delete file", 4, 6, "a", "ok"), Step("delete file", 5, 7, "a", GONE)],
        [Step("delete", 2, 5, answer="ok"), Step("upload", 3, 4, "a", "ok"), Step("upload", 3, 6, "b", GONE)],
    ],
)
def test_a_history_that_can_be(steps: list[Step]) -> None:
    """There is an order in which all answers are right."""
    assert is_linearizable([CREATED, *steps])


@pytest.mark.parametrize(
    "steps",
    [
        [UPLOADED, Step("list", 4, 5, answer=NOTHING)],
        [Step("delete", 2, 3, answer="ok"), Step("retrieve", 4, 5, answer="ok")],
        [UPLOADED, Step("read", 4, 5, "a", GONE)],
        [UPLOADED, Step("delete file", 4, 5, "a", "ok"), Step("delete file", 6, 7, "a", "ok")],
        [Step("upload", 2, inf, "a"), Step("list", 3, 4, answer=A), Step("list", 5, 6, answer=NOTHING)],
        [UPLOADED, Step("delete", 4, 6, answer="ok"), Step("list", 5, 7, answer=NOTHING)],
        [Step("read", 2, 3, "a", "ok"), Step("upload", 4, 5, "a", "ok")],
        [UPLOADED, Step("upload", 4, 5, "a", "ok")],
    ],
)
def test_a_history_that_cannot_be(steps: list[Step]) -> None:
    """No order explains a lost update, a stale read, or two successes of one delete."""
    assert not is_linearizable([CREATED, *steps])
