"""The checks of single fields: what passes, and in which words the rest is refused."""

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.validation import check_choice, check_integer, check_length, check_text, shown


@pytest.mark.parametrize("value", [1, 50, 100])
def test_an_integer_within_its_bounds_passes(value: int) -> None:
    """Both bounds belong to what is allowed."""
    assert check_integer(value, "limit", minimum=1, maximum=100) == value


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (0, "integer_below_min_value", "below minimum value. Expected a value >= 1, but got 0 instead."),
        (101, "integer_above_max_value", "above maximum value. Expected a value <= 100, but got 101 instead."),
    ],
)
def test_an_integer_beyond_its_bounds_is_refused(value: int, code: str, words: str) -> None:
    """The refusal names the parameter, the bound and the value."""
    with pytest.raises(InvalidRequestError) as caught:
        check_integer(value, "limit", minimum=1, maximum=100)
    assert (caught.value.param, caught.value.code) == ("limit", code)
    assert caught.value.message == f"Invalid 'limit': integer {words}"


@pytest.mark.parametrize("value", ["a", "x" * 256, "港のコンテナ 🚢", " ", "a\u2028b", "a\u202eb"])
def test_a_text_passes(value: str) -> None:
    """Everything is a text that is neither empty nor too long and has no control character."""
    assert check_text(value, "name", maximum=256) == value


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("", "missing_required_parameter"),
        ("x" * 257, "string_above_max_length"),
        ("a\0b", "invalid_value"),
        ("a\nb", "invalid_value"),
        ("a\x7fb", "invalid_value"),
        ("a\x85b", "invalid_value"),
    ],
)
def test_a_text_is_refused(value: str, code: str) -> None:
    """Nothing, too much, and control characters of ASCII and beyond are refused, each with its code."""
    with pytest.raises(InvalidRequestError) as caught:
        check_text(value, "name", maximum=256)
    assert (caught.value.param, caught.value.code) == ("name", code)


def test_a_length_is_told_in_its_own_words() -> None:
    """What is too long, and in which unit, stands in the message and in the code."""
    check_length(50, "file_ids", maximum=50, what="array", unit="length")
    with pytest.raises(
        InvalidRequestError, match=r"array too long\. Expected a maximum length of 50, but got 51"
    ) as caught:
        check_length(51, "file_ids", maximum=50, what="array", unit="length")
    assert caught.value.code == "array_above_max_length"


def test_a_choice_is_refused_with_what_there_is() -> None:
    """The refusal says what could be chosen, and what was, shortened."""
    assert check_choice("asc", "order", choices=("asc", "desc")) == "asc"
    with pytest.raises(InvalidRequestError) as caught:
        check_choice("u" * 10_000, "order", choices=("asc", "desc"))
    assert caught.value.message == f"Invalid 'order': expected one of 'asc', 'desc', but got '{'u' * 61}...'."


@pytest.mark.parametrize(("text", "length"), [("x" * 64, 64), ("x" * 65, 64), ("", 0)])
def test_what_is_shown_is_never_longer_than_an_id(text: str, length: int) -> None:
    """64 characters are shown whole, more are cut to 64."""
    assert len(shown(text)) == length
