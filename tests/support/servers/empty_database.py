"""An empty database with the current tables, copied to where a test wants one: migrating takes longer than most do."""

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from functools import cache
from pathlib import Path

from berth.adapters.sql.sqlite.migration import migrate

_OWNER_ONLY = 0o600


@cache
def _content() -> bytes:
    """Migrate an empty database, once in a process, and return its file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "berth.db"
        migrate(path)
        return path.read_bytes()


def put_empty_database(path: Path) -> None:
    """Write the database to `path`, for its owner alone, unless there is a file."""
    if not path.exists():
        with open(path, "xb", opener=lambda name, flags: os.open(name, flags, _OWNER_ONLY)) as file:
            file.write(_content())


def put_containers(path: Path, count: int, *, tenant: str) -> None:
    """Put containers that were just used into a database: creating many with calls takes long."""
    now = int(time.time())
    rows = ((f"cntr_{number:048x}", tenant, f"box-{number}", now, now) for number in range(count))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO containers (id, tenant, provider, name, created_at, last_active_at, expires_minutes)"
            " VALUES (?, ?, 'groq', ?, ?, ?, 1000)",
            rows,
        )
