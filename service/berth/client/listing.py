"""Lists of any length, page by page."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

PAGE = 100
"""The most that every list gives at a time."""

Item = TypeVar("Item")
Item_co = TypeVar("Item_co", covariant=True)


class Page(Protocol[Item_co]):
    """A page of a list, as every list of the contract has it."""

    @property
    def data(self) -> Sequence[Item_co]:
        """The items."""

    @property
    def last_id(self) -> str:
        """Where the next page begins."""

    @property
    def has_more(self) -> bool:
        """Whether there is a next page."""


class Listing(Generic[Item]):
    """The first `limit` items, all of them for None; `has_more` says afterwards whether there are others.

    `fetch` is asked for a number of items and the id behind which they begin.
    """

    def __init__(self, fetch: Callable[[int, str | None], Page[Item]], limit: int | None) -> None:
        self._fetch = fetch
        self._left = limit
        self.has_more = False

    def __iter__(self) -> Iterator[Item]:
        """Yield the items, asking for the next page when it is needed."""
        after: str | None = None
        while self._left is None or self._left > 0:
            page = self._fetch(PAGE if self._left is None else min(PAGE, self._left), after)
            yield from page.data
            self.has_more, after = page.has_more, page.last_id
            if not page.has_more or not page.data:
                return
            if self._left is not None:
                self._left -= len(page.data)
