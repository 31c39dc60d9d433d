"""What a command changed in its folder, one entry at a time."""

from typing import NamedTuple


class ChangedFile(NamedTuple):
    """A file that is new or has other content. `descriptor` is open for reading until the next entry is asked for."""

    path: str
    size: int
    descriptor: int


class DeletedFile(NamedTuple):
    """A file of the container that is gone."""

    path: str


class SkippedFile(NamedTuple):
    """An entry that is not taken, and why. `path` is fit to print; it may not be the exact name."""

    path: str
    reason: str


Change = ChangedFile | DeletedFile | SkippedFile
"""Paths are relative to the folder of the container's files."""
