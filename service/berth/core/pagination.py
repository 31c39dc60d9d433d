"""The parameters that every list takes, and what every page says."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from berth.core.ports.pages import Pagination
from berth.core.validation import check_choice, check_integer

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
DESCENDING, ASCENDING = "desc", "asc"

ListResponse = TypeVar("ListResponse", bound=Any)


class ListRequest(Protocol):
    """What the requests of all lists have in common."""

    limit: int
    after: str
    order: str

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Tell whether an optional field was given."""


def read_pagination(request: ListRequest, *, default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> Pagination:
    """Return the page that is asked for. InvalidRequestError for a limit or an order that cannot be."""
    limit = request.limit if request.HasField("limit") else default
    return Pagination(
        limit=check_integer(limit, "limit", minimum=1, maximum=maximum),
        after=request.after or None,
        descending=check_choice(request.order or DESCENDING, "order", choices=(ASCENDING, DESCENDING)) == DESCENDING,
    )


def page_of(kind: type[ListResponse], items: Sequence[Any], *, has_more: bool) -> ListResponse:
    """Return the list response of a `kind` that holds `items`, with the ids of the first and the last one."""
    response: ListResponse = kind(object="list", data=items, has_more=has_more)
    if items:
        response.first_id, response.last_id = items[0].id, items[-1].id
    return response
