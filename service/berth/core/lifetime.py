"""The lifetime and the status of containers.

Expiry is computed from the clock wherever it matters; no job has to run for a container to expire.
"""

from berth.core.validation import check_choice, check_integer, missing
from berth.v1.container_pb2 import (
    CONTAINER_STATUS_ACTIVE,
    CONTAINER_STATUS_EXPIRED,
    CONTAINER_STATUS_RUNNING,
    CONTAINER_STATUS_UNSPECIFIED,
    Container,
    ContainerStatus,
    ExpiresAfter,
)

ANCHOR = "last_active_at"
SECONDS_PER_MINUTE = 60
MAX_LATE_SECONDS = 60
_ALIVE = frozenset({CONTAINER_STATUS_RUNNING, CONTAINER_STATUS_ACTIVE})


def checked_expiry(given: ExpiresAfter | None, *, default_minutes: int, max_minutes: int) -> ExpiresAfter:
    """Return the expiry of a new container. InvalidRequestError for an invalid anchor or number of minutes."""
    if given is None:
        return ExpiresAfter(anchor=ANCHOR, minutes=default_minutes)
    if not given.anchor:
        raise missing("expires_after.anchor")
    check_choice(given.anchor, "expires_after.anchor", choices=(ANCHOR,))
    if not given.HasField("minutes"):
        raise missing("expires_after.minutes")
    check_integer(given.minutes, "expires_after.minutes", minimum=1, maximum=max_minutes)
    return given


def last_second(last_active_at: int, minutes: int) -> int:
    """Return the last second, since 1970, in which a container is running if it is not used again."""
    return last_active_at + minutes * SECONDS_PER_MINUTE


def expires_at(container: Container) -> int:
    """Return the last second in which `container` is running; see `last_second`."""
    return last_second(container.last_active_at, container.expires_after.minutes)


def status_at(now: int, *, expires_at: int) -> ContainerStatus:
    """Return whether a container is running or expired at `now`, in seconds since 1970."""
    if now > expires_at:
        return CONTAINER_STATUS_EXPIRED
    return CONTAINER_STATUS_RUNNING


def current_status(
    stored: ContainerStatus | None, *, is_hosted: bool, last_active_at: int, minutes: int, now: int
) -> ContainerStatus:
    """Return the status of a container at `now`, or CONTAINER_STATUS_UNSPECIFIED if it is unknown.

    The status of a hosted container depends only on the clock. A passthrough container keeps the
    status that its provider reported last, unless it must have expired since then according to the
    idle time that the provider reported.
    """
    at_most = last_second(last_active_at, minutes)
    if is_hosted:
        return status_at(now, expires_at=at_most)
    if stored in _ALIVE and last_active_at and minutes and now > at_most:
        return CONTAINER_STATUS_EXPIRED
    return stored or CONTAINER_STATUS_UNSPECIFIED


def has_status(current: ContainerStatus, wanted: ContainerStatus) -> bool:
    """Return whether a container with the status `current` matches a filter for `wanted`.

    Some providers report "active" for a running container.
    """
    return current in _ALIVE if wanted == CONTAINER_STATUS_RUNNING else current == wanted


def is_worth_writing(now: int, last_active_at: int, minutes: int) -> bool:
    """Return whether the last activity in a container's row is so old that it should be updated.

    The row is late by at most a sixtieth of the container's idle time, and by at most 60 s.
    """
    return now - last_active_at >= min(minutes, MAX_LATE_SECONDS)
