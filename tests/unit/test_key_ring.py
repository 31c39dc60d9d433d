"""Which key is next."""

from collections import Counter
from dataclasses import replace
from itertools import count

import pytest
import structlog
from structlog.testing import LogCapture

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.adapters.upstream.key_ring import KeyRing
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.errors import RateLimitError, UpstreamError
from berth.core.ports.metrics import Metrics
from support.fakes.stores import FixedClock

A, B = UpstreamKey("a", "secret-a"), UpstreamKey("b", "secret-b", weight=3.0)
NARROW = UpstreamKey("narrow", "secret-n", max_in_flight=1)


def ring(
    *keys: UpstreamKey, clock: FixedClock | None = None, log: LogCapture | None = None, metrics: Metrics | None = None
) -> KeyRing:
    """Return a ring whose chance goes evenly through [0, 1)."""
    steps = count()
    return KeyRing(
        keys,
        provider="openai",
        now=clock or FixedClock(),
        random=lambda: next(steps) % 100 / 100,
        log=structlog.wrap_logger(None, processors=[log or LogCapture()]),
        metrics=metrics or PrometheusMetrics(),
    )


def test_keys_are_chosen_by_weight() -> None:
    """A key with three times the weight is chosen three times as often."""
    keys = ring(A, B)
    assert Counter(keys.choose().name for _ in range(100)) == {"a": 25, "b": 75}


def test_a_refused_key_is_counted() -> None:
    """Each time a key is put aside, the metrics are told which one."""
    metrics = PrometheusMetrics()
    ring(A, B, metrics=metrics).put_aside(A, status=401)
    assert metrics.value("berth_upstream_keys_put_aside_total", provider="openai", key="a") == 1


def test_keys_without_weight_still_serve() -> None:
    """Where no key has any weight, one is chosen all the same."""
    assert ring(UpstreamKey("none", "secret", weight=0.0)).choose().name == "none"


def test_a_key_is_put_aside_for_a_minute() -> None:
    """A refused key is not chosen for 60 seconds, is chosen then, and the log says so without the key."""
    clock, log = FixedClock(), LogCapture()
    keys = ring(A, B, clock=clock, log=log)
    keys.put_aside(B, status=401)
    clock.advance(59)
    assert {keys.choose().name for _ in range(100)} == {"a"}
    clock.advance(1)
    assert {keys.choose().name for _ in range(100)} == {"a", "b"}
    assert log.entries == [
        {"event": "upstream.key_put_aside", "log_level": "warning", "provider": "openai", "key": "b"}
        | {"status": 401, "seconds": 60}
    ]


def test_without_keys_there_is_nothing_to_choose() -> None:
    """When all keys are aside the provider's credentials are exhausted."""
    keys = ring(A)
    keys.put_aside(A, status=403)
    with pytest.raises(UpstreamError) as caught:
        keys.choose()
    assert caught.value.code == "upstream_credentials_exhausted"
    assert "secret" not in caught.value.message


def test_a_busy_key_is_passed_over() -> None:
    """A key with as many calls as it may have is not chosen until one has ended."""
    keys = ring(NARROW, A)
    keys.take(NARROW)
    assert {keys.choose().name for _ in range(100)} == {"a"}
    keys.give_back(NARROW)
    assert {keys.choose().name for _ in range(100)} == {"a", "narrow"}


def test_when_all_keys_are_busy_the_caller_waits() -> None:
    """With every key at its limit the answer is to come again in a second, for a new container and for an old one."""
    keys = ring(NARROW)
    keys.take(NARROW)
    for operation in (keys.choose, lambda: keys.take(NARROW)):
        with pytest.raises(RateLimitError) as caught:
            operation()
        assert (caught.value.code, caught.value.retry_after_seconds) == ("request_limited", 1)


def test_a_key_is_found_by_its_name() -> None:
    """The key of a container is looked up, also while it is aside; one that is gone is said to be, without secrets."""
    keys = ring(A)
    keys.put_aside(A, status=401)
    assert keys.named("a") is A
    with pytest.raises(UpstreamError, match="no longer configured") as caught:
        keys.named("b")
    assert caught.value.code == "upstream_credentials_exhausted"


def test_a_callers_own_key_is_none_of_the_ring() -> None:
    """A key that only has the name of a configured one is not taken for it."""
    assert A in ring(A)
    assert UpstreamKey("a", "something else") not in ring(A)


def test_a_key_does_not_show_its_value() -> None:
    """What is printed of a key is not the key."""
    assert "secret" not in repr(A)


def test_a_reserved_key_is_for_its_tenant_alone() -> None:
    """It is chosen for its tenant and for no other, and that tenant gets no other key."""
    ours, second = UpstreamKey("ours", "secret-o", tenant="ours"), UpstreamKey("second", "secret-s", tenant="ours")
    keys = ring(A, ours, second)
    assert {keys.choose().name for _ in range(100)} == {"a"}
    assert {keys.choose(tenant="ours").name for _ in range(100)} == {"ours", "second"}
    assert (keys.first("ours"), keys.first("theirs"), keys.first()) == (ours, None, A)
    assert keys.has_other({"ours"}, "ours")
    assert not keys.has_other({"a"})
    assert keys.named("ours", "ours") is ours
    for tenant in ("theirs", None):
        with pytest.raises(UpstreamError):
            keys.named("ours", tenant)


def test_keys_are_replaced() -> None:
    """A new set of keys applies to the next choice; a key of the old set is no longer put aside."""
    keys = ring(A)
    keys.replace([B])
    assert (keys.choose(), A in keys, B in keys) == (B, False, True)


def test_a_key_with_a_new_value_is_used_at_once() -> None:
    """A key that was put aside is used again if its value is replaced, and not if it stays."""
    keys = ring(A)
    keys.put_aside(A, status=401)
    keys.replace([replace(A, weight=2.0)])
    assert A in keys
    with pytest.raises(UpstreamError):
        keys.choose()
    renewed = replace(A, value="secret-new")
    keys.replace([renewed])
    assert keys.choose() is renewed
    assert A not in keys
