"""How long a hosted container lives.

Expiry is not an event but a fact about the clock: it is computed wherever it
matters, and nothing has to run for it to happen.
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
    """Return when a new container expires. InvalidRequestError for an anchor or minutes that cannot be."""
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
    """Return the last second, since 1970, in which a container is running if nothing touches it."""
    return last_active_at + minutes * SECONDS_PER_MINUTE


def expires_at(container: Container) -> int:
    """Return the last second of a container; see `last_second`."""
    return last_second(container.last_active_at, container.expires_after.minutes)


def status_at(now: int, *, expires_at: int) -> ContainerStatus:
    """Return whether a container is running or expired at `now`, in seconds since 1970."""
    if now > expires_at:
        return CONTAINER_STATUS_EXPIRED
    return CONTAINER_STATUS_RUNNING


def current_status(
    stored: ContainerStatus | None, *, is_hosted: bool, last_active_at: int, minutes: int, now: int
) -> ContainerStatus:
    """Return the status of a container at `now`; CONTAINER_STATUS_UNSPECIFIED where nobody knows it.

    That of a hosted one is the clock's to tell. A provider's keeps what the
    provider said last, unless the clock says that it must have expired since:
    it was idle for too long, as far as the provider says how long that is.
    """
    at_most = last_second(last_active_at, minutes)
    if is_hosted:
        return status_at(now, expires_at=at_most)
    if stored in _ALIVE and last_active_at and minutes and now > at_most:
        return CONTAINER_STATUS_EXPIRED
    return stored or CONTAINER_STATUS_UNSPECIFIED


def has_status(current: ContainerStatus, wanted: ContainerStatus) -> bool:
    """Tell whether a container of the status `current` is to be listed among those that are `wanted`.

    "active" is a word of some providers for "running".
    """
    return current in _ALIVE if wanted == CONTAINER_STATUS_RUNNING else current == wanted


def is_worth_writing(now: int, last_active_at: int, minutes: int) -> bool:
    """Tell whether the row of a container should say that it is used: a sixtieth of its idle time late at most."""
    return now - last_active_at >= min(minutes, MAX_LATE_SECONDS)
