"""JSON texts: which are accepted, what they say, and how long it takes."""

import json
import time
from contextlib import suppress

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.json_text import RepeatedNames, parse_json

INF = float("inf")

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
atoms = st.sampled_from([*b'{}[]:,"\\ \t\n\r/-+.eE0123456789', *b"truefalsenull"]).map(
    lambda byte: bytes([byte])
) | st.sampled_from([b'"a"', b"\\u00e9", b"\xc3\xa9", b"\xff", b"1e5", b"-0", b"01"])


@given(values)
def test_what_json_writes_is_read(value: object) -> None:
    """Any value comes out as it went in, however it is written."""
    for text in (orjson.dumps(value), json.dumps(value, indent=2).encode(), json.dumps(value).encode()):
        assert parse_json(text) == value


@given(st.lists(atoms, max_size=12).map(b"".join))
@example(b'"\\u00')
@example(b'{"a": 1,}')
@example(b"[1] x")
@example(b"\xa0[]")
def test_the_same_texts_are_accepted_as_by_a_reference(text: bytes) -> None:
    """A text is JSON for this parser exactly if it is for orjson, but for numbers that no double holds."""
    try:
        expected = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        assume("number is infinity" not in str(error))
        with pytest.raises(InvalidRequestError) as caught:
            parse_json(text)
        assert caught.value.code == "invalid_json"
    else:
        assert parse_json(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "it is empty"),
        (b" \n ", "it is empty"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b'{"a": NaN}', "NaN is not a JSON value"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON value"),
        (b'{"a": 1,}', "line 1 column [89]"),  # Python 3.13 names the comma, older ones what follows it
        (b'{"a"\n 1}', "line 2 column 2"),
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
    ],
)
def test_what_is_no_json_is_refused(text: bytes, reason: str) -> None:
    """The refusal says what is wrong, and where."""
    with pytest.raises(InvalidRequestError, match=reason) as caught:
        parse_json(text)
    assert (caught.value.code, caught.value.param) == ("invalid_json", None)


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_repeated_name_is_noticed(name: str) -> None:
    """An object that has a name twice is marked; a value alone could not tell."""
    value = parse_json(b'{"x": {"a": 1, "b": 2, "%b": 3}}' % name.encode())
    assert isinstance(value, dict)
    assert isinstance(value["x"], RepeatedNames)
    assert value["x"].name == name
    assert not isinstance(value, RepeatedNames)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"9007199254740992", 2**53),
        (b"-9007199254740992", -(2**53)),
        (b"9007199254740993", INF),
        (b"-9007199254740993", INF),
        (b"9" * 1_000_000, INF),
        (b"1e400", INF),
    ],
)
def test_numbers_that_no_double_holds_are_infinite(text: bytes, value: float) -> None:
    """2^53 is the largest integer; whoever walks through the value refuses what is above, by its place."""
    assert parse_json(text) == value


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b"x" * 15_000_000,
        b'"' + b"\\u00e9" * 2_000_000 + b'"',
        b"[" + b"1," * 3_000_000 + b"1]",
        b"1" * 15_000_000,
        b'{"a":' * 1_000_000,
        b'{"' + b'a":1,"' * 1_000_000 + b'b":1}',
        b" " * 15_000_000,
    ],
    ids=["unfinished string", "escapes", "list", "digits", "depth", "names", "blanks"],
)
def test_no_text_takes_long(text: bytes) -> None:
    """Fifteen megabytes take a second or two at most, whatever they are: never the square of their length."""
    started = time.process_time()
    with suppress(InvalidRequestError):
        parse_json(text)
    assert time.process_time() - started < 5
