"""Creates the table of leases: which process does something that one process at a time should do.

A foreign key is checked at each deletion of a container, which in PostgreSQL would be a scan of all files: they have no
index for it. The transactions keep the rows together, so there it is removed.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
expands = True


def upgrade() -> None:
    """Create the empty table; in PostgreSQL, remove the foreign keys that refer to containers."""
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
    )
    if op.get_context().dialect.name == "postgresql":
        for table in ("files", "domain_secrets"):
            op.drop_constraint(f"{table}_container_seq_fkey", table, type_="foreignkey")
