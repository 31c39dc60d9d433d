"""Inventory: the port for what the rows say about all blobs and sums; `berth doctor` compares them with content."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple, Protocol

from berth.core.ports.blob_store import BlobState, StoredContent


class BlobRow(NamedTuple):
    """A blob that files refer to, according to its row."""

    stored: StoredContent
    is_damaged: bool


class SumKind(StrEnum):
    """The sums that are kept beside the rows that they count."""

    CONTAINER_BYTES = "container_bytes"
    """The bytes of all files of a container, for its quota."""
    TENANT_BYTES = "tenant_bytes"
    """The bytes of all files of a tenant, for its quota."""
    REFERENCES = "references"
    """The number of files that refer to a blob; its content is deleted with the last one."""
    STORED_BYTES = "stored_bytes"
    """The bytes of all files outside of containers that a key has stored at a provider, for the usage."""


class WrongSum(NamedTuple):
    """A sum that differs from what the rows add up to; `name` is the container, the tenant or the blob.

    `stored` is None if there is no row for the sum. Only sums for the usage have a `key` and a `provider`.
    """

    kind: SumKind
    name: str
    stored: int | None
    actual: int
    key: str = ""
    provider: str = ""


class Inventory(Protocol):
    """All blobs that rows refer to, and all sums. Safe while other processes change them."""

    async def list_blobs(self, *, after: str, limit: int) -> Sequence[BlobRow]:
        """Return at most `limit` blobs in the order of their keys, from the first key greater than `after` on."""

    async def blob_state(self, blob: str) -> BlobState | None:
        """Return what is known about a blob; see BlobReferences."""

    async def files_of(self, blob: str, *, limit: int) -> Sequence[str]:
        """Return the ids of at most `limit` files that refer to a blob."""

    async def unreferenced(self, blobs: Sequence[str]) -> Sequence[str]:
        """Return those of `blobs` that neither a file nor the row of a blob refers to."""

    async def wrong_sums(self) -> Sequence[WrongSum]:
        """Return all sums that differ from what the rows add up to."""

    async def mismatched_files(self, *, limit: int) -> Sequence[str]:
        """Return the ids of at most `limit` files with a size or digest that differs from that of their blob."""

    async def correct_sum(self, wrong: WrongSum) -> None:
        """Set a sum to what the rows add up to by now; create the row of the sum if it is missing."""

    async def note_damage(self, blob: str) -> int:
        """Record that a blob is damaged or missing; see BlobReferences."""

    async def clear_damage(self, blob: str) -> None:
        """Record that a blob is not damaged."""

    async def set_block_sums(self, stored: StoredContent) -> None:
        """Store the checksums of the blocks of a blob."""
