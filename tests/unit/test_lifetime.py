"""The life of a container: when it expires, and what callers may ask for."""

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.lifetime import checked_expiry, expires_at, status_at
from berth.v1.container_pb2 import Container, ContainerStatus, ExpiresAfter

RUNNING, EXPIRED = ContainerStatus.CONTAINER_STATUS_RUNNING, ContainerStatus.CONTAINER_STATUS_EXPIRED


def checked(given: ExpiresAfter | None) -> ExpiresAfter:
    return checked_expiry(given, default_minutes=20, max_minutes=43_200)


def test_the_default_counts_from_the_last_activity() -> None:
    """Who says nothing gets the default number of minutes."""
    assert checked(None) == ExpiresAfter(anchor="last_active_at", minutes=20)


@pytest.mark.parametrize("minutes", [1, 43_200])
def test_minutes_within_the_bounds_are_kept(minutes: int) -> None:
    """One minute and the configured maximum are both allowed."""
    assert checked(ExpiresAfter(anchor="last_active_at", minutes=minutes)).minutes == minutes


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        (ExpiresAfter(minutes=20), "expires_after.anchor", "missing_required_parameter"),
        (ExpiresAfter(anchor="created_at", minutes=20), "expires_after.anchor", "invalid_value"),
        (ExpiresAfter(anchor="last_active_at"), "expires_after.minutes", "missing_required_parameter"),
        (ExpiresAfter(anchor="last_active_at", minutes=0), "expires_after.minutes", "integer_below_min_value"),
        (ExpiresAfter(anchor="last_active_at", minutes=-1), "expires_after.minutes", "integer_below_min_value"),
        (ExpiresAfter(anchor="last_active_at", minutes=43_201), "expires_after.minutes", "integer_above_max_value"),
        (ExpiresAfter(anchor="last_active_at", minutes=10**9), "expires_after.minutes", "integer_above_max_value"),
    ],
)
def test_what_cannot_be_is_refused(given: ExpiresAfter, param: str, code: str) -> None:
    """The refusal names the field inside expires_after that is at fault."""
    with pytest.raises(InvalidRequestError) as caught:
        checked(given)
    assert (caught.value.param, caught.value.code) == (param, code)


@pytest.mark.parametrize(("now", "status"), [(1_000, RUNNING), (1_060, RUNNING), (1_061, EXPIRED), (10**9, EXPIRED)])
def test_a_container_lives_to_the_last_second(now: int, status: ContainerStatus) -> None:
    """One minute idle is still running; a second more is expired, for good."""
    container = Container(last_active_at=1_000, expires_after=ExpiresAfter(minutes=1))
    assert status_at(now, expires_at=expires_at(container)) == status
