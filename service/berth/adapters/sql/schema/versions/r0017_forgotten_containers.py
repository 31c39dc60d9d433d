"""Adds an index that finds containers at providers that Berth created and that expired long ago."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
expands = True


def upgrade() -> None:
    """Create the index. What was adopted has an index of its own."""
    created = sa.text("deleted_at IS NULL AND adopted_at IS NULL AND key_name != ''")
    op.create_index(
        "containers_by_passed_expiry",
        "containers",
        [sa.text("(last_active_at + expires_minutes * 60)")],
        sqlite_where=created,
        postgresql_where=created,
        if_not_exists=True,
    )
