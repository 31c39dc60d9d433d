"""Adds, for passthrough containers, the key they were created with and the last status that the provider reported.

For a hosted container `key_name` is empty and `status` is NULL. Values that a
provider does not report are 0 in `last_active_at` and `expires_minutes`, and
NULL in `memory_limit`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the two columns; all existing containers are hosted."""
    op.add_column("containers", sa.Column("key_name", sa.Text, nullable=False, server_default=""))
    op.add_column("containers", sa.Column("status", sa.Text))
