"""Adds an index that finds expired hosted containers, however many containers there are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
expands = True


def upgrade() -> None:
    """Create the index. Passthrough containers, which have a key, are excluded: their provider expires them."""
    hosted = sa.text("deleted_at IS NULL AND key_name = ''")
    op.create_index(
        "containers_by_expiry",
        "containers",
        [sa.text("(last_active_at + expires_minutes * 60)")],
        sqlite_where=hosted,
        postgresql_where=hosted,
    )
