"""The tables that are copied, in an order in which no row refers to one of a later table."""

from typing import NamedTuple


class Table(NamedTuple):
    """A table and the columns of its primary key, in the order in which its rows are read."""

    name: str
    key: tuple[str, ...] = ("seq",)


TABLES = (
    Table("virtual_keys", ("name",)),
    Table("key_digests", ("digest",)),
    Table("tenants", ("tenant",)),
    Table("blobs", ("key",)),
    Table("containers"),
    Table("domain_secrets"),
    Table("files"),
    Table("execs"),
    Table("exec_output", ("exec_seq", "sequence")),
    Table("tenant_files"),
    Table("leftovers", ("container_seq",)),
    Table("idempotency", ("tenant", "key")),
    Table("usage"),
    Table("usage_minutes", ("usage_seq", "memory_limit")),
    Table("stored_bytes", ("tenant", "key_name", "provider")),
    Table("reservations", ("id",)),
    Table("sweep_clock", ("id",)),
)
LEFT_OUT = ("alembic_version", "leases")
"""Tables that are not copied: each database has a schema of its own, and leases are those of processes."""
NUMBERED = tuple(table.name for table in TABLES if table.key == ("seq",))
"""The tables with a `seq` that the database counts."""
NEVER_REUSED = ("containers", "files", "execs", "tenant_files")
"""Those that never give out a number again, on SQLite either: lists are in the order of these numbers."""
OWN = ("sweep_clock",)
"""Tables that have a row as soon as a Berth has run, even if nothing was stored."""


def ordered_columns(table: Table, names: list[str]) -> list[str]:
    """Return the columns of a table in the order in which they are copied, those of the key first."""
    return [*table.key, *sorted(set(names) - set(table.key))]
