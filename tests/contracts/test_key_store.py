"""The contract of KeyStore, run against the database and the fake."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from berth.adapters.sql.keys import SqlKeys
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.commands.terminal.moments import format_time
from berth.core.auth.virtual_keys import LATEST_TIME, KeyEntry, KeyStore, VirtualKey, digest_of
from berth.core.caller import Caller, Limits
from berth.core.errors import InvalidRequestError, NotFoundError
from berth.v1.provider_pb2 import Provider
from support.fakes.keys import MemoryKeys
from support.servers.databases import KINDS, opened

NOW = 1_700_000_000
OLD, NEW = digest_of("sk-bf-old"), digest_of("sk-bf-new")
PLAIN = VirtualKey(Caller("ours", "plain"))
FULL = VirtualKey(
    Caller(
        "ténant",
        "full",
        frozenset({Provider.PROVIDER_GROQ, Provider.PROVIDER_OLLAMA}),
        limits=Limits(requests_per_minute=60, max_in_flight=5),
    ),
    expires_at=NOW + 5,
)
NOTHING_ALLOWED = VirtualKey(Caller("ours", "nothing", frozenset()))


@pytest.fixture(params=[*KINDS, "memory"])
async def keys(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[KeyStore]:
    if request.param == "memory":
        yield MemoryKeys()
        return
    async with opened(request.param, request, tmp_path) as database:
        yield SqlKeys(database)


@pytest.mark.parametrize("key", [PLAIN, FULL, NOTHING_ALLOWED], ids=lambda key: key.caller.name)
async def test_a_key_comes_back_as_it_was_added(keys: KeyStore, key: VirtualKey) -> None:
    """It is found by its digest, and listed, with all that it stands for."""
    await keys.add(key, OLD, now=NOW)
    assert await keys.find(OLD, now=NOW) == key
    assert list(await keys.entries()) == [KeyEntry(key, created_at=NOW)]
    assert await keys.find(NEW, now=NOW) is None


async def test_an_expired_key_is_still_found(keys: KeyStore) -> None:
    """So that its holder is told that it has expired, and not that there never was one."""
    await keys.add(FULL, OLD, now=NOW)
    assert await keys.find(OLD, now=NOW + 100) == FULL


async def test_names_are_used_once(keys: KeyStore) -> None:
    """A name in use is refused, and the key that has it stays; that of a revoked one is free."""
    await keys.add(PLAIN, OLD, now=NOW)
    with pytest.raises(InvalidRequestError, match="'plain' already"):
        await keys.add(VirtualKey(Caller("theirs", "plain")), NEW, now=NOW)
    assert await keys.find(OLD, now=NOW) == PLAIN
    assert await keys.find(NEW, now=NOW) is None
    await keys.revoke("plain", now=NOW)
    await keys.add(VirtualKey(Caller("theirs", "plain")), NEW, now=NOW + 1)
    assert await keys.find(NEW, now=NOW) == VirtualKey(Caller("theirs", "plain"))
    assert await keys.find(OLD, now=NOW) is None


async def test_a_revoked_key_is_gone_for_good(keys: KeyStore) -> None:
    """It is found no more under any digest, is listed as revoked, and cannot be changed."""
    await keys.add(PLAIN, OLD, now=NOW)
    await keys.rotate("plain", NEW, now=NOW, old_until=NOW + 60)
    await keys.revoke("plain", now=NOW + 1)
    assert [await keys.find(digest, now=NOW + 1) for digest in (OLD, NEW)] == [None, None]
    assert list(await keys.entries()) == [KeyEntry(PLAIN, created_at=NOW, revoked_at=NOW + 1)]
    with pytest.raises(NotFoundError, match="no key 'plain'"):
        await keys.revoke("plain", now=NOW)
    with pytest.raises(NotFoundError, match="no key 'plain'"):
        await keys.rotate("plain", digest_of("sk-bf-3"), now=NOW, old_until=NOW)


async def test_both_values_work_while_a_key_is_rotated(keys: KeyStore) -> None:
    """The new one at once, the old one until its time is up; rotating again does not give it more."""
    await keys.add(PLAIN, OLD, now=NOW)
    await keys.rotate("plain", NEW, now=NOW, old_until=NOW + 60)
    newest = digest_of("sk-bf-newest")
    await keys.rotate("plain", newest, now=NOW + 1, old_until=NOW + 90)
    found = {
        second: [await keys.find(digest, now=NOW + second) == PLAIN for digest in (OLD, NEW, newest)]
        for second in (2, 59, 60, 89, 90)
    }
    assert found == {
        2: [True, True, True],
        59: [True, True, True],
        60: [False, True, True],
        89: [False, True, True],
        90: [False, False, True],
    }


async def test_without_an_overlap_the_old_value_ends_at_once(keys: KeyStore) -> None:
    """A key that got out is rotated without a second more for it."""
    await keys.add(PLAIN, OLD, now=NOW)
    await keys.rotate("plain", NEW, now=NOW, old_until=NOW)
    assert [await keys.find(digest, now=NOW) for digest in (OLD, NEW)] == [None, PLAIN]


async def test_keys_are_listed_by_name(keys: KeyStore) -> None:
    """Whatever the order in which they were made."""
    for name in ("b", "c", "a"):
        await keys.add(VirtualKey(Caller("t", name)), digest_of(name), now=NOW)
    assert [entry.key.caller.name for entry in await keys.entries()] == ["a", "b", "c"]


@pytest.mark.parametrize("expires_at", [-62_135_647_200, 86_401_795_777_380])
async def test_a_time_that_no_calendar_has_breaks_nothing(tmp_path: Path, expires_at: int) -> None:
    """A stored key that expires before 1970 or after the year 9999 is listed with the nearest time between them."""
    with contextlib.closing(SqliteDatabase.open(f"sqlite:///{tmp_path}/berth.db")) as database:
        keys = SqlKeys(database)
        await keys.add(VirtualKey(Caller("ours", "odd"), expires_at=expires_at), OLD, now=NOW)
        (entry,) = await keys.entries()
        assert entry.key.expires_at in {0, LATEST_TIME}
        assert format_time(entry.key.expires_at) in {"1970-01-01T00:00:00Z", "9999-12-31T23:59:59Z"}
        assert await keys.find(OLD, now=NOW) == entry.key
