"""Creates the tables of containers, their secrets and their files.

The rows of deleted containers and files stay, with `deleted_at` set, so that they remain valid as cursors of lists.
Lists and paths use partial indexes, which do not contain such rows. `seq` is the order of creation.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_LIVING = "deleted_at IS NULL"
# In SQLite, an INTEGER primary key is the row id itself.
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the three tables and their indexes."""
    _create_containers()
    _create_domain_secrets()
    _create_files()
    _index_living("containers_by_tenant", "containers", ["tenant", "seq"])
    _index_living("containers_by_provider", "containers", ["tenant", "provider", "seq"])
    _index_living("containers_by_name", "containers", ["tenant", "name", "seq"])
    _index_living("containers_by_provider_and_name", "containers", ["tenant", "provider", "name", "seq"])
    _index_living("files_by_container", "files", ["container_seq", "seq"])
    _index_living("files_by_path", "files", ["container_seq", "path"], unique=True)


def _create_containers() -> None:
    op.create_table(
        "containers",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_active_at", sa.BigInteger, nullable=False),
        sa.Column("expires_minutes", sa.BigInteger, nullable=False),
        sa.Column("memory_limit", sa.Text),
        sa.Column("metadata", sa.Text),
        sa.Column("network_type", sa.Text),
        sa.Column("allowed_domains", sa.Text),
        sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("deleted_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )


def _create_domain_secrets() -> None:
    op.create_table(
        "domain_secrets",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("container_seq", _SEQ, sa.ForeignKey("containers.seq"), nullable=False, index=True),
        sa.Column("domain", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("container_seq", _SEQ, sa.ForeignKey("containers.seq"), nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("deleted_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )


def _index_living(name: str, table: str, columns: list[str], *, unique: bool = False) -> None:
    """Create an index of the rows that are not deleted."""
    living = sa.text(_LIVING)
    op.create_index(name, table, columns, unique=unique, sqlite_where=living, postgresql_where=living)
