"""Adds what is counted of commands: how many were started and, in milliseconds, how long they ran.

`execs.key_name` is the name of the key for which a command is counted; "" in rows of an earlier version, which are not
counted.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
expands = True


def upgrade() -> None:
    """Add the columns."""
    op.add_column("execs", sa.Column("key_name", sa.Text, nullable=False, server_default=""))
    for name in ("execs", "exec_ms"):
        op.add_column("usage", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
