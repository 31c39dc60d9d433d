"""Creates the table of deleted containers that still have files.

Deleting a container with very many files takes many transactions, so that other writes do not wait. Its row here is
removed with the last file.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
expands = True


def upgrade() -> None:
    """Create the empty table."""
    op.create_table("leftovers", sa.Column("container_seq", sa.BigInteger, primary_key=True, autoincrement=False))
