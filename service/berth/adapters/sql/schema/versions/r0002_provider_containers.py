"""Containers that a provider keeps: the key that they were made with, and their status as the provider told it last.

`key_name` is empty for a hosted container, and `status` is NULL. What a provider
does not say is 0 in `last_active_at` and `expires_minutes`, and NULL in
`memory_limit`.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the two columns; every container so far is a hosted one."""
    op.add_column("containers", sa.Column("key_name", sa.Text, nullable=False, server_default=""))
    op.add_column("containers", sa.Column("status", sa.Text))
