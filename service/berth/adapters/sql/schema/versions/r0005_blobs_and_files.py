"""Creates the tables of files, of blobs with the number of files that refer to each, and of the bytes per tenant.

Content is stored once, however many files have it. When `holders` reaches 0, the row of the blob is deleted, and
then its bytes. `bytes` of a tenant is the total of its container files and its files of the Files API.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_LIVING = "deleted_at IS NULL"
# In SQLite, an INTEGER primary key is the row id itself.
_SEQ = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BLOBS_SO_FAR = f"""
    INSERT INTO blobs (key, sha256, bytes, holders)
    SELECT blob, min(sha256), min(bytes), count(*) FROM files WHERE {_LIVING} GROUP BY blob
"""  # noqa: S608 - constants
_TENANTS_SO_FAR = f"""
    INSERT INTO tenants (tenant, bytes) SELECT tenant, sum(bytes) FROM containers WHERE {_LIVING} GROUP BY tenant
"""  # noqa: S608 - constants


def upgrade() -> None:
    """Create the three tables, and fill `blobs` and `tenants` from the existing files and containers."""
    op.create_table(
        "blobs",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("sha256", sa.Text, nullable=False, index=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("holders", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "tenants",
        sa.Column("tenant", sa.Text, primary_key=True),
        sa.Column("bytes", sa.BigInteger, nullable=False),
    )
    _create_tenant_files()
    op.execute(_BLOBS_SO_FAR)
    op.execute(_TENANTS_SO_FAR)


def _create_tenant_files() -> None:
    op.create_table(
        "tenant_files",
        sa.Column("seq", _SEQ, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("content_type", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("blob", sa.Text, nullable=False),
        sa.Column("key_name", sa.Text, nullable=False),
        sa.Column("attempt", sa.Text),
        sa.Column("deleted_at", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    _index("tenant_files_by_tenant", ["tenant", "seq"], _LIVING)
    _index("tenant_files_by_provider", ["tenant", "provider", "seq"], _LIVING)
    _index("tenant_files_by_purpose", ["tenant", "purpose", "seq"], _LIVING)
    _index("tenant_files_by_provider_and_purpose", ["tenant", "provider", "purpose", "seq"], _LIVING)
    _index("tenant_files_by_expiry", ["expires_at"], f"{_LIVING} AND expires_at IS NOT NULL")
    _index("tenant_files_by_attempt", ["attempt"], "attempt IS NOT NULL", unique=True)


def _index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(name, "tenant_files", columns, unique=unique, sqlite_where=where, postgresql_where=where)
