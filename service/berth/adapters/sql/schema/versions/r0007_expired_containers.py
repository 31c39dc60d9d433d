"""An index by which hosted containers are found that have expired, however many there are."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the index. A container of a provider's (it has a key) expires there."""
    hosted = sa.text("deleted_at IS NULL AND key_name = ''")
    op.create_index(
        "containers_by_expiry",
        "containers",
        [sa.text("(last_active_at + expires_minutes * 60)")],
        sqlite_where=hosted,
        postgresql_where=hosted,
    )
