"""Pagination: the parameters of list requests and the fields of list responses."""

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from berth.core.limits import limits_of
from berth.core.ports.pages import Pagination
from berth.core.validation import check_choice, check_integer

DEFAULT_LIMIT = 20
MAX_PAGE_BYTES = 3 * 1024 * 1024
"""The largest page, in bytes of serialized items: gRPC clients accept responses of 4 MiB by default."""
DESCENDING = "desc"
_STEP = 256
"""After how many items of a long page other calls run: a millisecond's work."""

ListResponse = TypeVar("ListResponse", bound=Any)


class ListRequest(Protocol):
    """The fields that all list requests share."""

    limit: int
    after: str
    order: str

    def HasField(self, field_name: str, /) -> bool:  # noqa: N802 - protobuf's own name
        """Return whether an optional field was set."""


def read_pagination(request: ListRequest, *, default: int = DEFAULT_LIMIT) -> Pagination:
    """Return the requested page. InvalidRequestError for an invalid limit or order."""
    maximum, orders = limits_of(type(request), "limit").maximum, limits_of(type(request), "order").values
    limit = request.limit if request.HasField("limit") else default
    return Pagination(
        limit=check_integer(limit, "limit", minimum=1, maximum=maximum),
        after=request.after or None,
        descending=check_choice(request.order or DESCENDING, "order", choices=orders) == DESCENDING,
    )


def page_of(kind: type[ListResponse], items: Sequence[Any], *, has_more: bool) -> ListResponse:
    """Return the list response of the type `kind` with `items` and the ids of the first and the last one.

    Items that do not fit into MAX_PAGE_BYTES are left to the next page; the first one is always there.
    """
    response: ListResponse = kind(object="list")
    _add(response, items, MAX_PAGE_BYTES)
    return _ended(response, len(items), has_more=has_more)


async def long_page_of(kind: type[ListResponse], items: Sequence[Any], *, has_more: bool) -> ListResponse:
    """Return the same as `page_of`, for a page that may have thousands of items: other calls run meanwhile."""
    response: ListResponse = kind(object="list")
    left = MAX_PAGE_BYTES
    for start in range(0, len(items), _STEP):
        if start:
            await asyncio.sleep(0)
        left = _add(response, items[start : start + _STEP], left)
        if left < 0:
            break
    return _ended(response, len(items), has_more=has_more)


def _add(response: ListResponse, items: Sequence[Any], left: int) -> int:
    """Add the first `items`, as many as fit into `left` bytes; return what is left, less than 0 if not all did."""
    count = 0
    for item in items:
        left -= item.ByteSize()
        if left < 0:
            break
        count += 1
    response.data.extend(items[: count if response.data else max(1, count)])
    return left


def _ended(response: ListResponse, count: int, *, has_more: bool) -> ListResponse:
    """Complete a page of `count` items, some of which may not be there."""
    if response.data:
        response.first_id, response.last_id = response.data[0].id, response.data[-1].id
    response.has_more = has_more or len(response.data) < count
    return response
