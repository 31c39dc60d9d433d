"""Pages of a list: which page is requested, and what it contains."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pagination:
    """The requested page of a list: at most `limit` items after the one with the id `after`, by creation."""

    limit: int
    after: str | None = None
    descending: bool = True


class Page(NamedTuple, Generic[T]):
    """One page, and whether more items follow."""

    data: Sequence[T]
    has_more: bool
