"""Adds the checksums of the blocks of each blob, with which ranges of its content are verified."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
expands = True


def upgrade() -> None:
    """Add the column: CRC-32 of each 4 MiB, 4 bytes each, in big-endian order; NULL for existing blobs."""
    op.add_column("blobs", sa.Column("block_sums", sa.LargeBinary))
