"""Adds what is counted for usage and budgets.

`usage` has a row per tenant, key, provider and day (days since 1970), and `usage_minutes` the containers and minutes of
such a row by memory size. `stored_bytes` has the bytes of the files outside of containers that a key has stored now,
and until when the seconds that they are stored were counted. `reservations` has the minimum costs of containers that
providers are creating.

The meter of a container counts its minutes from `metered_from` on; `counted_minutes` of them are in `usage`. It stores
`metered_bytes` since `bytes_since`; `byte_seconds` are those of the same day until then that are not in `usage`.
`meter_open` is 1 until all are. These columns are NULL or 0 in rows of an earlier version, which are not counted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
expands = True

# In SQLite, an INTEGER primary key is the row id itself.
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables, and add the columns of meters, keys and budgets."""
    _create_usage()
    _create_accounts()
    _add_meters()
    op.add_column("virtual_keys", sa.Column("budget_nano_usd", sa.BigInteger))
    op.add_column("virtual_keys", sa.Column("budget_period", sa.Text))


def _create_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("day", sa.BigInteger, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        *(_counter(name) for name in ("containers", "calls", "bytes_in", "bytes_out", "byte_seconds")),
    )
    op.create_index("usage_by_day", "usage", ["tenant", "day", "provider", "key_name"], unique=True)
    op.create_index("usage_by_key", "usage", ["tenant", "key_name", "day", "provider"])
    op.create_index("usage_by_age", "usage", ["day"])
    op.create_table(
        "usage_minutes",
        sa.Column("usage_seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("memory_limit", sa.Text, primary_key=True),
        *(_counter(name) for name in ("containers", "minutes", "billed_minutes")),
        sqlite_with_rowid=False,
    )


def _create_accounts() -> None:
    owner = ("tenant", "key_name", "provider")
    op.create_table(
        "stored_bytes",
        *(sa.Column(name, sa.Text, primary_key=True) for name in owner),
        _counter("bytes"),
        sa.Column("counted_until", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in (*owner, "memory_limit")),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("reservations_by_key", "reservations", ["tenant", "key_name"])


def _add_meters() -> None:
    op.add_column("containers", sa.Column("created_by", sa.Text))
    op.add_column("containers", sa.Column("metered_from", sa.BigInteger))
    op.add_column("containers", _counter("counted_minutes"))
    op.add_column("containers", _counter("metered_bytes"))
    op.add_column("containers", _counter("byte_seconds"))
    op.add_column("containers", sa.Column("bytes_since", sa.BigInteger))
    op.add_column("containers", sa.Column("meter_open", sa.Integer))
    is_open = sa.text("meter_open = 1")
    columns = ["tenant", "created_by", "seq"]
    op.create_index("containers_by_meter", "containers", columns, sqlite_where=is_open, postgresql_where=is_open)
    op.add_column("tenant_files", sa.Column("created_by", sa.Text))


def _counter(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
