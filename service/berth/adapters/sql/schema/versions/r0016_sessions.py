"""Notes in which session an exec ran; NULL without one."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
expands = True


def upgrade() -> None:
    """Add the column."""
    op.add_column("execs", sa.Column("session", sa.Text))
