"""Pagination: the parameters of list requests and the fields of list responses."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from berth.core.ports.pages import Pagination
from berth.core.validation import check_choice, check_integer

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
DESCENDING, ASCENDING = "desc", "asc"

ListResponse = TypeVar("ListResponse", bound=Any)


class ListRequest(Protocol):
    """The fields that all list requests share."""

    limit: int
    after: str
    order: str

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Return whether an optional field was set."""


def read_pagination(request: ListRequest, *, default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> Pagination:
    """Return the requested page. InvalidRequestError for an invalid limit or order."""
    limit = request.limit if request.HasField("limit") else default
    return Pagination(
        limit=check_integer(limit, "limit", minimum=1, maximum=maximum),
        after=request.after or None,
        descending=check_choice(request.order or DESCENDING, "order", choices=(ASCENDING, DESCENDING)) == DESCENDING,
    )


def page_of(kind: type[ListResponse], items: Sequence[Any], *, has_more: bool) -> ListResponse:
    """Return the list response of the type `kind` with `items` and the ids of the first and the last one."""
    response: ListResponse = kind(object="list", data=items, has_more=has_more)
    if items:
        response.first_id, response.last_id = items[0].id, items[-1].id
    return response
