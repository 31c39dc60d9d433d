"""Reads lists of any length, page by page."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

PAGE = 100
"""The largest page that every list operation allows."""

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class Page(Protocol[Item_co]):
    """A page of a list, as all list responses of the contract have it."""

    @property
    def data(self) -> Sequence[Item_co]:
        """The items."""

    @property
    def last_id(self) -> str:
        """The id after which the next page begins."""

    @property
    def has_more(self) -> bool:
        """Whether there is a next page."""


class Listing(Generic[Item]):
    """The first `limit` items of a list, or all if `limit` is None.

    `fetch` takes the size of the page and the id after which it begins. `has_more` says, after the iteration, whether
    the list has further items.
    """

    def __init__(self, fetch: Callable[[int, str | None], Page[Item]], limit: int | None) -> None:
        self._fetch = fetch
        self._left = limit
        self.has_more = False

    def __iter__(self) -> Iterator[Item]:
        """Yield the items; fetch the next page when it is needed."""
        after: str | None = None
        while self._left is None or self._left > 0:
            page = self._fetch(PAGE if self._left is None else min(PAGE, self._left), after)
            yield from page.data
            self.has_more, after = page.has_more, page.last_id
            if not page.has_more or not page.data:
                return
            if self._left is not None:
                self._left -= len(page.data)
