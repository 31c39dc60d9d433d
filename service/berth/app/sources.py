"""The sources of the time, of ids, and of the version."""

import secrets
from collections.abc import Callable
from importlib import metadata

from berth import DISTRIBUTION
from berth.adapters.sql.database import Database

Clock = Callable[[], int]


def clock_of(database: Database) -> Clock:
    """Return the clock that all users of the database share, in seconds since 1970-01-01 UTC."""
    return lambda: int(database.now())


def new_id(prefix: str, digits: int) -> str:
    """Return an unguessable id: `prefix` followed by `digits` random hexadecimal digits."""
    return prefix + secrets.token_hex(digits // 2)


def version() -> str:
    """Return the version of Berth."""
    return metadata.version(DISTRIBUTION)
