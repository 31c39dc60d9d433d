"""Creates the tables of virtual keys that are added at run time, and of their digests.

A key itself is not stored, only its SHA-256. A rotated key has two digests until the old one
expires. `providers` is a JSON list, NULL for all.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "virtual_keys",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("providers", sa.Text),
        sa.Column("requests_per_minute", sa.Integer),
        sa.Column("max_in_flight", sa.Integer),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
    )
    op.create_table(
        "key_digests",
        sa.Column("digest", sa.LargeBinary, primary_key=True),
        sa.Column("name", sa.Text, sa.ForeignKey("virtual_keys.name"), nullable=False, index=True),
        sa.Column("valid_until", sa.BigInteger),
    )
