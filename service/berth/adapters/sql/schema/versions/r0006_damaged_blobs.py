"""How often a blob was found damaged. One that ever was is replaced by the next upload of its content."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the column; of no blob so far is anything known."""
    op.add_column("blobs", sa.Column("damaged", sa.BigInteger, nullable=False, server_default="0"))
