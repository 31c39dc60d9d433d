"""Prepares the removal of deleted rows and the encryption of secrets.

Three indexes find the rows that were deleted long ago. `domain_secrets.key_id` names the key that the value is
encrypted with, NULL for plain text. The only row of `sweep_clock` has the time of the last sweep, and since when the
clock had not been set, in seconds since 1970.
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
expands = True


def upgrade() -> None:
    """Create the indexes, the column and the table; all existing secrets are plain text."""
    deleted = sa.text("deleted_at IS NOT NULL")
    for table in ("containers", "files", "tenant_files"):
        op.create_index(f"{table}_by_deletion", table, ["deleted_at"], sqlite_where=deleted, postgresql_where=deleted)
    op.add_column("domain_secrets", sa.Column("key_id", sa.Text))
    op.create_table(
        "sweep_clock",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.Column("steady_since", sa.BigInteger, nullable=False),
    )
