"""Creates the table of requests with an idempotency key, and marks resources with the attempt that created them.

The mark is unique, so two processes that work on the same attempt cannot both
create a resource. Resources that were created without an idempotency key have no mark.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_MARKED = "attempt IS NOT NULL"


def upgrade() -> None:
    """Create the table, the columns and their indexes."""
    op.create_table(
        "idempotency",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("key", sa.LargeBinary, primary_key=True),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("attempt", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False, index=True),
        sa.Column("fingerprint", sa.LargeBinary),
        sa.Column("outcome", sa.LargeBinary),
    )
    _index("idempotency_by_owner", "idempotency", "owner", "outcome IS NULL", unique=False)
    for table in ("containers", "files"):
        op.add_column(table, sa.Column("attempt", sa.Text))
        _index(f"{table}_by_attempt", table, "attempt", _MARKED, unique=True)


def _index(name: str, table: str, column: str, condition: str, *, unique: bool) -> None:
    where = sa.text(condition)
    op.create_index(name, table, [column], unique=unique, sqlite_where=where, postgresql_where=where)
