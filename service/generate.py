"""Writes the SQL that creates an empty database, which is what all migrations make of one.

`tests/unit/test_schema.py` fails if it is stale.
"""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from berth.adapters.sql.postgres.migration import upgrade_script
from berth.adapters.sql.schema import REVISION
from berth.adapters.sql.sqlite.migration import upgrade

FOLDER = Path(__file__).resolve().parent / "berth" / "adapters" / "sql" / "schema"
_TABLES = "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name != 'sqlite_sequence' ORDER BY rowid"


def texts() -> dict[str, str]:
    """Return the text of each file, by file name."""
    texts = {"sqlite.sql": _sqlite(), "postgres.sql": upgrade_script(None, "")}
    return {name: f"-- Written by service/generate.py.\n{text}" for name, text in texts.items()}


def _sqlite() -> str:
    """Migrate an empty database, and return its definitions as SQLite has them, and its revision."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        upgrade(path)
        with closing(sqlite3.connect(path)) as connection:
            statements = [row[0] for row in connection.execute(_TABLES)]
            (revision,) = connection.execute(REVISION).fetchone()
    statements.append(f"INSERT INTO alembic_version VALUES ('{revision}')")  # noqa: S608 - our own
    return "".join(f"{statement};\n" for statement in statements)


if __name__ == "__main__":
    for name, text in texts().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
