"""The schema of the database: its migrations, which alembic runs on SQLite and writes as SQL for PostgreSQL.

A migration that the previous version of the service can live with, because it only adds what that version neither reads
nor has to write, says so with `expands = True`. Only such migrations run while that version is still running. What is
no longer used is removed by a later version.

`env.py` and `versions/` are run by alembic. Alembic and SQLAlchemy take 23 MiB of memory and 0.6 seconds of a core,
so they are imported only to migrate an older database. A new one is created from `sqlite.sql` or `postgres.sql`, which
`service/generate.py` writes: they have what all migrations together make of an empty database.
"""

from pathlib import Path
from typing import Literal

HEAD = "0017"
REVISION = "SELECT version_num FROM alembic_version"
"""The query for the current revision. The table does not exist in an empty database."""


def creation(system: Literal["sqlite", "postgres"]) -> str:
    """Return the SQL that creates the newest schema in an empty database, including its revision."""
    return Path(__file__).with_name(f"{system}.sql").read_text(encoding="utf-8")
