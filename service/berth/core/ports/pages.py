"""Pages of a list: which one is asked for, and what it holds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pagination:
    """Which page of a list: at most `limit` items behind the one with the id `after`, by creation."""

    limit: int
    after: str | None = None
    descending: bool = True


class Page(NamedTuple, Generic[T]):
    """One page, and whether anything follows it."""

    data: Sequence[T]
    has_more: bool
