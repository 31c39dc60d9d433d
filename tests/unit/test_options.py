"""The headers in which callers ask for something beside the operation itself."""

import pytest

from berth.core.caller import NO_OPTIONS, Options
from berth.core.errors import InvalidRequestError
from berth.rpc.options import HEADERS, read_options


def test_nobody_asks_for_anything() -> None:
    """Without such headers nothing is asked for."""
    assert read_options({}) is NO_OPTIONS


def test_each_header_is_read() -> None:
    """Every header has its place."""
    asked = {
        "openai-organization": "org-1",
        "openai-project": "proj-1",
        "x-bf-send-back-raw-request": "true",
        "x-bf-send-back-raw-response": "True",
        "x-bf-cache-key": "mine",
        "x-bf-cache-ttl": "5m",
        "x-bf-cache-type": "direct",
        "x-bf-cache-no-store": "true",
        "idempotency-key": "a key",
        "content-encoding": "Identity",
    }
    assert set(asked) == HEADERS
    assert read_options(asked) == Options(
        organization="org-1",
        project="proj-1",
        raw_request=True,
        raw_response=True,
        cache_key="mine",
        cache_ttl_seconds=300,
        cache_store=False,
        idempotency_key="a key",
    )


@pytest.mark.parametrize(("text", "seconds"), [("1", 1), ("30s", 30), ("2m", 120), ("24h", 86_400), ("86400", 86_400)])
def test_a_ttl_is_seconds_or_has_a_unit(text: str, seconds: int) -> None:
    """A number alone is in seconds; s, m and h are understood."""
    assert read_options({"x-bf-cache-ttl": text}).cache_ttl_seconds == seconds


def test_an_idempotency_key_may_be_long() -> None:
    """It has up to 255 characters."""
    assert read_options({"idempotency-key": "x" * 255}).idempotency_key == "x" * 255


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "é"])
def test_an_idempotency_key_that_cannot_be_is_named(key: str) -> None:
    """An empty one, one that is too long, and one that no header carries."""
    with pytest.raises(InvalidRequestError) as caught:
        read_options({"idempotency-key": key})
    assert caught.value.param == "Idempotency-Key"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-bf-cache-ttl", ""),
        ("x-bf-cache-ttl", "soon"),
        ("x-bf-cache-ttl", "0"),
        ("x-bf-cache-ttl", "-1"),
        ("x-bf-cache-ttl", "1.5"),
        ("x-bf-cache-ttl", "²"),
        ("x-bf-cache-ttl", "25h"),
        ("x-bf-cache-ttl", "9" * 5000),
        ("x-bf-cache-type", "semantic"),
        ("x-bf-cache-key", "x" * 257),
        ("x-bf-cache-no-store", "yes"),
        ("x-bf-send-back-raw-request", "1"),
        ("openai-organization", "a\nb"),
    ],
)
def test_what_cannot_be_is_named(name: str, value: str) -> None:
    """A header that makes no sense is the caller's mistake, and is named."""
    with pytest.raises(InvalidRequestError) as caught:
        read_options({name: value})
    assert caught.value.param == name
