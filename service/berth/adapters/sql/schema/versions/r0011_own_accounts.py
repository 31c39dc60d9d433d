"""Lets each tenant have a row of its own for a container or a file that it found in its account at a provider.

An id is unique for a tenant and a provider, and no longer by itself. `adopted_at` is when a resource that Berth did
not create was first used, NULL for all others.

SQLite cannot drop the constraint: there the two tables are copied into new ones with the same rows, `seq` and indexes.
The numbers that were given out stay given out. Foreign keys are not checked meanwhile, and refer to the new table.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
expands = True

_TABLES = ("containers", "tenant_files")
_BEFORE, _AFTER = "UNIQUE (id)", "UNIQUE (id, provider, tenant)"
_ADOPTED = "deleted_at IS NULL AND adopted_at IS NOT NULL"


def upgrade() -> None:
    """Copy both tables, and index what was adopted: by tenant, and by the time at which it expires."""
    if op.get_context().dialect.name == "postgresql":
        _replace_constraints()
    else:
        _copy_tables()
    for table in _TABLES:
        _index(f"{table}_by_adoption", table, ["tenant", "adopted_at", "seq"])
    _index("containers_by_adopted_expiry", "containers", [sa.text("(last_active_at + expires_minutes * 60)")])


def _replace_constraints() -> None:
    for table in _TABLES:
        op.add_column(table, sa.Column("adopted_at", sa.BigInteger))
        op.drop_constraint(f"{table}_id_key", table, type_="unique")
        op.create_unique_constraint(f"{table}_id_provider_tenant_key", table, ["id", "provider", "tenant"])


def _copy_tables() -> None:
    for table in _TABLES:
        (definition,) = _texts("table", table)
        if _AFTER in definition:
            continue
        op.add_column(table, sa.Column("adopted_at", sa.BigInteger))
        _copy(table)


def _copy(table: str) -> None:
    """Replace a table by a copy with the other constraint."""
    (definition,) = _texts("table", table)
    indexes = _texts("index", table)
    if _BEFORE not in definition:
        raise RuntimeError(f"the table {table} has no constraint {_BEFORE}")
    copy = f"{table}_copy"
    _run(definition.replace(_BEFORE, _AFTER).replace(f"CREATE TABLE {table} ", f"CREATE TABLE {copy} "))
    _run(f"INSERT INTO {copy} SELECT * FROM {table}")  # noqa: S608 - constants
    _run(f"DELETE FROM sqlite_sequence WHERE name = '{copy}'")  # noqa: S608 - constants
    _run(f"INSERT INTO sqlite_sequence SELECT '{copy}', seq FROM sqlite_sequence WHERE name = '{table}'")  # noqa: S608 - constants
    _run(f"DROP TABLE {table}")
    _run(f"ALTER TABLE {copy} RENAME TO {table}")
    for index in indexes:
        _run(index)


def _texts(kind: str, table: str) -> list[str]:
    """Return the definitions of a table or of its indexes; those of constraints have none."""
    query = "SELECT sql FROM sqlite_master WHERE type = ? AND tbl_name = ? AND sql IS NOT NULL"
    return [row[0] for row in _run(query, (kind, table))]


def _run(statement: str, values: tuple[str, ...] = ()) -> Any:
    return op.get_bind().exec_driver_sql(statement, values)


def _index(name: str, table: str, columns: list[Any]) -> None:
    adopted = sa.text(_ADOPTED)
    op.create_index(name, table, columns, sqlite_where=adopted, postgresql_where=adopted, if_not_exists=True)
