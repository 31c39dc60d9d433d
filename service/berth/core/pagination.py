"""The parameters that every list takes."""

from typing import Protocol

from berth.core.ports.stores import Paging
from berth.core.validation import check_choice, check_integer

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
DESCENDING, ASCENDING = "desc", "asc"


class ListRequest(Protocol):
    """What the requests of all lists have in common."""

    limit: int
    after: str
    order: str

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Tell whether an optional field was given."""


def paging(request: ListRequest, *, default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> Paging:
    """Return the page that is asked for. InvalidRequestError for a limit or an order that cannot be."""
    limit = request.limit if request.HasField("limit") else default
    return Paging(
        limit=check_integer(limit, "limit", minimum=1, maximum=maximum),
        after=request.after or None,
        descending=check_choice(request.order or DESCENDING, "order", choices=(ASCENDING, DESCENDING)) == DESCENDING,
    )
