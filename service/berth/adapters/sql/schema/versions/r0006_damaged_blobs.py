"""Counts how often a blob was found damaged; a damaged blob is replaced by the next upload of its content."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; no existing blob is known to be damaged."""
    op.add_column("blobs", sa.Column("damaged", sa.BigInteger, nullable=False, server_default="0"))
