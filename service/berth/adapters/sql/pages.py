"""Builds the queries for pages of lists, with keyset pagination.

A page begins after the row that the cursor names, at its `seq`, and is read along an index that ends in `seq`. Its cost
does not depend on how many rows there are before it, after it, or deleted in between.
"""

from collections.abc import Sequence
from functools import cache

from berth.adapters.sql.database import Row
from berth.adapters.sql.rows import CONTAINER_READ, FILE_COLUMNS, TENANT_FILE_COLUMNS
from berth.core.ports.pages import Pagination

SLICE = 50
"""How many rows are read at a time where a page may need many more: the event loop waits for each read."""
_DESCRIBED = "(adopted_at IS NULL OR created_at > 0)"
"""The condition for rows of which more than the id is known."""
FIRST_SEQ, LAST_SEQ = 0, 2**63 - 1  # before and after every row


def start_of_list(pagination: Pagination) -> int:
    """Return the seq at which a list without a cursor begins."""
    return LAST_SEQ if pagination.descending else FIRST_SEQ


@cache
def containers_query(*, providers: int | None, by_name: bool, descending: bool, sorts_each_arm: bool = False) -> str:
    """Return the query for a page of containers: of any provider, or of `providers` different ones.

    Its values are `tenant`, `seq`, `limit` and, where they filter, `name` and
    `provider0`, `provider1`, …. Each provider is a query of its own, on the
    index that has its rows in order; the database merges them up to the limit.
    `provider IN (…)` would sort all of the rows instead. So would PostgreSQL unless
    `sorts_each_arm`, for which SQLite takes twice the time.
    """
    name = "name = :name" if by_name else None
    conditions = ["tenant = :tenant", name, _DESCRIBED]
    selects = _by_provider(CONTAINER_READ, "containers", providers, conditions, descending=descending)
    return _merged(selects, descending=descending, sorts_each_arm=sorts_each_arm)


@cache
def tenant_files_query(
    *, providers: int | None, by_purpose: bool, descending: bool, sorts_each_arm: bool = False
) -> str:
    """Return the query for a page of a tenant's files; see `containers_query`.

    Its values also include `now`, and `purpose` instead of `name`.
    """
    purpose = "purpose = :purpose" if by_purpose else None
    living = "(expires_at IS NULL OR expires_at > :now)"
    conditions = ["tenant = :tenant", purpose, living, _DESCRIBED]
    columns = f"{TENANT_FILE_COLUMNS}, seq"
    selects = _by_provider(columns, "tenant_files", providers, conditions, descending=descending)
    return _merged(selects, descending=descending, sorts_each_arm=sorts_each_arm)


@cache
def files_query(*, descending: bool) -> str:
    """Return the query for a page of a container's files. Its values are `container_seq`, `seq` and `limit`."""
    select = _select_living(FILE_COLUMNS, "files", ["container_seq = :container_seq"], descending)
    return select + _order_and_limit(descending)


def _by_provider(
    columns: str, table: str, providers: int | None, conditions: Sequence[str | None], *, descending: bool
) -> list[str]:
    filters = [None] if providers is None else [f"provider = :provider{i}" for i in range(providers)]
    return [_select_living(columns, table, [*conditions, provider], descending) for provider in filters]


def _merged(selects: Sequence[str], *, descending: bool, sorts_each_arm: bool) -> str:
    order = _order_and_limit(descending)
    if sorts_each_arm and len(selects) > 1:
        selects = [f"SELECT * FROM ({select}{order}) AS arm{index}" for index, select in enumerate(selects)]  # noqa: S608 - as below
    return " UNION ALL ".join(selects) + order


def _select_living(columns: str, table: str, conditions: Sequence[str | None], descending: bool) -> str:  # noqa: FBT001 - private
    beyond = "seq < :seq" if descending else "seq > :seq"
    where = " AND ".join([*filter(None, conditions), "deleted_at IS NULL", beyond])
    return f"SELECT {columns} FROM {table} WHERE {where}"  # noqa: S608 - joins constants of this package only


def _order_and_limit(descending: bool) -> str:  # noqa: FBT001 - private
    return f" ORDER BY seq {'DESC' if descending else 'ASC'} LIMIT :limit"


def cut(rows: Sequence[Row], limit: int) -> tuple[Sequence[Row], bool]:
    """Return the first `limit` rows, and whether there are more."""
    return rows[:limit], len(rows) > limit
