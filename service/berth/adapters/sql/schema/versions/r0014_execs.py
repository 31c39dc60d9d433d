"""Creates the tables of execs and of their output.

An exec without a `result` is running, held by the process `owner` until `lease_until`. `result` is the message itself.
`exec_output` has the events of an exec in parts; once it has ended, in one part. `files.modified_at` is when a command
changed the content of a file, NULL if none did.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
expands = True

# In SQLite, an INTEGER primary key is the row id itself.
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the empty tables, and add the column."""
    op.create_table(
        "execs",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("container_seq", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("isolation", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.Column("cancelled_at", sa.BigInteger),
        sa.Column("attempt", sa.Text),
        sa.Column("result", sa.LargeBinary),
        sqlite_autoincrement=True,
    )
    op.create_index("execs_by_container", "execs", ["container_seq", "seq"])
    marked = sa.text("attempt IS NOT NULL")
    op.create_index("execs_by_attempt", "execs", ["attempt"], unique=True, sqlite_where=marked, postgresql_where=marked)
    op.create_table(
        "exec_output",
        sa.Column("exec_seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.add_column("files", sa.Column("modified_at", sa.BigInteger))
