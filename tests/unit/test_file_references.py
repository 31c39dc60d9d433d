"""Which key goes with the ids of files that are to be copied at a provider, and which ids never get there."""

import pytest

from berth.core.caller import Caller
from berth.core.errors import InvalidRequestError, PermissionDeniedError
from berth.core.ports.file_store import FileRecord
from berth.core.routing.accounts import Accounts
from berth.core.routing.file_references import FileReferences
from berth.v1.file_pb2 import File
from berth.v1.provider_pb2 import Provider
from support.fakes.files import MemoryFiles
from support.fakes.records import OLLAMA, OPENAI, ROOMY
from support.fakes.stores import FixedClock
from support.fakes.subjects import ONLY_GROQ, OURS, THEIRS


async def references(provider: Provider = OPENAI) -> FileReferences:
    """Return what knows a file of each of two providers, made with different keys, and one of another tenant."""
    store = MemoryFiles(FixedClock())
    for tenant, file_id, owner in (
        ("ours", "file-1", OPENAI),
        ("ours", "file-2", OLLAMA),
        ("theirs", "file-3", OPENAI),
    ):
        file = File(id=file_id, object="file", purpose="batch")
        await store.add(FileRecord(file, tenant, owner, key=f"key of {file_id}"), quotas=ROOMY)
    return FileReferences(store, provider)


@pytest.mark.parametrize(
    ("provider", "file_ids", "key"),
    [
        (OPENAI, ["file-unknown", "file-1"], "key of file-1"),
        (OPENAI, ["file-2", "file-1"], "key of file-1"),
        (OPENAI, ["file-2", "file-unknown"], None),
        (OLLAMA, ["file-1", "file-2"], "key of file-2"),
        (OLLAMA, [], None),
    ],
)
async def test_the_key_is_one_of_the_provider(provider: Provider, file_ids: list[str], key: str | None) -> None:
    """What made a file at another provider is no key here; the provider is left to judge what is not its own."""
    found = await (await references(provider)).find(OURS, file_ids)
    assert found == (key, ["file-unknown"] if "file-unknown" in file_ids else [])


async def test_anothers_file_is_none() -> None:
    """Another tenant's file is refused as one that never was, by its place or by the name of its field."""
    for given, param in ((None, "file_ids[1]"), ("file_id", "file_id")):
        with pytest.raises(InvalidRequestError, match="no file with the id 'file-3'") as caught:
            await (await references()).find(OURS, ["file-1", "file-3"], param=given)
        assert caught.value.param == param


async def test_a_file_of_a_provider_that_the_key_is_not_for() -> None:
    """A key comes to the files of its own providers alone, also where two providers are one account."""
    with pytest.raises(PermissionDeniedError) as caught:
        await (await references()).find(ONLY_GROQ, ["file-2"])
    assert caught.value.code == "provider_blocked"


class Shared:
    """An account that all callers share, except for those of the tenant "ours"."""

    def owns(self, caller: Caller) -> bool:
        return caller.tenant == "ours"

    admits_unknown = owns

    def is_own_key(self, tenant: str, key: str) -> bool:
        return (tenant, key) == ("ours", "key of file-2")


@pytest.mark.parametrize(("caller", "refused"), [(OURS, ["file-3"]), (THEIRS, ["file-1", "file-2", "file-unknown"])])
async def test_unknown_files_of_a_shared_account(caller: Caller, refused: list[str]) -> None:
    """In a shared account a file that Berth does not know is none; in an own account its provider judges that."""
    known = await references()
    checked = FileReferences(known._store, OPENAI, Accounts({OPENAI: Shared()}))
    for file_id in ("file-1", "file-2", "file-3", "file-unknown"):
        if file_id in refused:
            with pytest.raises(InvalidRequestError, match=f"no file with the id '{file_id}'"):
                await checked.find(caller, [file_id])
        else:
            await checked.find(caller, [file_id])


async def test_an_adopted_file_of_a_lost_account() -> None:
    """An adopted file can be copied while the caller may reach what Berth does not know, and no longer."""
    store = MemoryFiles(FixedClock())
    for tenant in ("ours", "theirs"):
        file = File(id="file-1", object="file", purpose="batch")
        await store.adopt(FileRecord(file, tenant, OPENAI, key="first", adopted_at=1))
    checked = FileReferences(store, OPENAI, Accounts({OPENAI: Shared()}))
    assert await checked.find(OURS, ["file-1"]) == ("first", [])
    with pytest.raises(InvalidRequestError, match="no file with the id 'file-1'"):
        await checked.find(THEIRS, ["file-1"])
