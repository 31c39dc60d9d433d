"""Pages of lists, by keyset.

A page begins behind the row that the cursor names, at its `seq`, and an index
that ends in `seq` leads to it. So a page costs the same however many rows
there are, before it, behind it, or deleted in between.
"""

from collections.abc import Sequence
from functools import cache

from berth.adapters.sql.rows import CONTAINER_COLUMNS, FILE_COLUMNS, TENANT_FILE_COLUMNS, Row
from berth.core.ports.pages import Pagination

SLICE = 250
"""How many rows are read in one go where a page may take many more: all other calls wait for them."""
FIRST_SEQ, LAST_SEQ = 0, 2**63 - 1  # before and behind every row


def start_of_list(pagination: Pagination) -> int:
    """Return the seq from which a list is read that has no cursor."""
    return LAST_SEQ if pagination.descending else FIRST_SEQ


@cache
def containers_query(*, providers: int | None, by_name: bool, descending: bool) -> str:
    """Return the query for a page of containers: of any provider, or of some number of them.

    Its values are `tenant`, `seq`, `limit`, and where they filter `name` and
    `provider0`, `provider1`, …. Each provider is a query of its own, on the
    index that has its rows in order; the database merges them as far as the
    limit goes. `provider IN (…)` would sort all of the rows instead.
    """
    name = "name = :name" if by_name else None
    return _by_provider(CONTAINER_COLUMNS, "containers", providers, ["tenant = :tenant", name], descending=descending)


@cache
def tenant_files_query(*, providers: int | None, by_purpose: bool, descending: bool) -> str:
    """Return the query for a page of a tenant's files; see `containers_query`.

    Its values are `now`, too, and `purpose` in the place of `name`.
    """
    purpose = "purpose = :purpose" if by_purpose else None
    living = "(expires_at IS NULL OR expires_at > :now)"
    conditions = ["tenant = :tenant", purpose, living]
    return _by_provider(TENANT_FILE_COLUMNS, "tenant_files", providers, conditions, descending=descending)


@cache
def files_query(*, descending: bool) -> str:
    """Return the query for a page of a container's files. Its values are `container_seq`, `seq` and `limit`."""
    return _living(FILE_COLUMNS, "files", ["container_seq = :container_seq"], descending) + _tail(descending)


def _by_provider(
    columns: str, table: str, providers: int | None, conditions: Sequence[str | None], *, descending: bool
) -> str:
    arms = [None] if providers is None else [f"provider = :provider{i}" for i in range(providers)]
    bodies = [_living(columns, table, [*conditions, arm], descending) for arm in arms]
    return " UNION ALL ".join(bodies) + _tail(descending)


def _living(columns: str, table: str, conditions: Sequence[str | None], descending: bool) -> str:  # noqa: FBT001 - private
    beyond = "seq < :seq" if descending else "seq > :seq"
    where = " AND ".join([*filter(None, conditions), "deleted_at IS NULL", beyond])
    return f"SELECT {columns}, seq FROM {table} WHERE {where}"  # noqa: S608 - joins constants of this package only


def _tail(descending: bool) -> str:  # noqa: FBT001 - private
    return f" ORDER BY seq {'DESC' if descending else 'ASC'} LIMIT :limit"


def cut(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], bool]:
    """Return the first `limit` of the rows, and whether there are more."""
    return rows[:limit], len(rows) > limit
