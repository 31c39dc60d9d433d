"""Uploads with an idempotency key: compared by what is in them, and told again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from berth.core.caller import Caller
from support.fakes.idempotent import BOX, KEYED, Troubled, once, upload
from support.fakes.subjects import refused
from support.fakes.uploads import GivenUpload
from support.servers.hosted import Kept, Left


@pytest.fixture
def troubled(kept: Kept) -> Troubled:
    return Troubled(kept.backend)


async def container(kept: Kept) -> str:
    return (await kept.backend.create_container(Caller("ours", "first"), BOX)).id


async def test_an_upload_is_stored_once(kept: Kept, troubled: Troubled) -> None:
    """The same bytes under the same name are told again; how they were cut into pieces does not matter."""
    backend, home = once(kept, troubled), await container(kept)
    first = await backend.create_container_file(KEYED, upload(home, b"hel", b"lo"))
    again = await backend.create_container_file(KEYED, upload(home, b"hello"))
    assert (again.id, again.extra_fields.idempotent_replayed) == (first.id, True)
    assert (troubled.begun, kept.left()) == (1, Left(containers=1, files=1, blobs=1))


@pytest.mark.parametrize(
    "other",
    [{"chunks": b"hellO"}, {"filename": "b"}, {"file_path": "/mnt/data/c"}],
    ids=["bytes", "name", "path"],
)
async def test_another_upload_is_refused(kept: Kept, other: dict[str, str | bytes]) -> None:
    """With other bytes, another name or another path the key is used up."""
    backend, home = once(kept), await container(kept)
    await backend.create_container_file(KEYED, upload(home, b"hello"))
    chunks = other.pop("chunks", b"hello")
    error = await refused(backend.create_container_file(KEYED, upload(home, chunks, **other)))  # type: ignore[arg-type] # as above
    assert error.code == "idempotency_key_reused"
    assert kept.left() == Left(containers=1, files=1, blobs=1)


class Broken(GivenUpload):
    """An upload that breaks off."""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"hel"
        raise asyncio.CancelledError


@pytest.mark.parametrize("resumes", [True, False])
async def test_an_upload_that_broke_off_may_come_again(kept: Kept, *, resumes: bool) -> None:
    """Nobody can have stored what was never sent to its end: the key is free at once."""
    backend, home = once(kept, resumes=resumes), await container(kept)
    with pytest.raises(asyncio.CancelledError):
        await backend.create_container_file(KEYED, Broken(home, filename="a"))
    file = await backend.create_container_file(KEYED, upload(home, b"hello"))
    assert file.bytes == 5
    assert kept.left() == Left(containers=1, files=1, blobs=1)
