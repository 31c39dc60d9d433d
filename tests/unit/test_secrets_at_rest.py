"""Secrets of containers: encrypted where there is a key, and gone from the disk once they are deleted."""

import random
import sqlite3
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from berth.adapters.encryption.aes_gcm import AesGcm
from berth.adapters.sql.containers import SqlStore
from berth.adapters.sql.sqlite.database import SqliteDatabase
from berth.core.errors import StorageError
from berth.v1.container_service_pb2 import DomainSecret
from support.fakes.records import container
from support.fakes.stores import FixedClock

KEY, OTHER_KEY = bytes(range(32)), bytes(32)
MARKER = "marker-4d1fa7-"
SECRETS = [
    DomainSecret(domain="a.example", name="token", value=f"{MARKER}é🔑"),
    DomainSecret(domain="b.example", name="empty", value=""),
]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    with closing(SqliteDatabase.open(f"sqlite:///{tmp_path}/berth.db")) as opened:
        yield opened


def found(folder: Path, marker: str = MARKER) -> list[str]:
    """Return the names of the files in `folder` that contain a text."""
    return sorted(path.name for path in folder.iterdir() if marker.encode() in path.read_bytes())


def sealed(database: SqliteDatabase, key: bytes | None = KEY) -> SqlStore:
    return SqlStore(database, now=FixedClock(), cipher=AesGcm(key) if key else None)


async def test_with_a_key_no_value_is_on_disk(database: SqliteDatabase, tmp_path: Path) -> None:
    """Values are encrypted before they reach any file, differently each time, and are read as they were."""
    store = sealed(database)
    for name in ("box", "twin"):
        await store.add_container(container(name), domain_secrets=SECRETS)
    assert await store.get_domain_secrets("ours", "box") == SECRETS
    assert found(tmp_path) == []
    await database.tidy()
    with closing(sqlite3.connect(tmp_path / "berth.db")) as connection:
        values = connection.execute("SELECT value FROM domain_secrets").fetchall()
    assert len({*values}) == len(values) == 4


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (None, "they are encrypted, and store.secret_key is not set"),
        (OTHER_KEY, "they were encrypted with another key than store.secret_key"),
    ],
)
async def test_without_the_key_reading_says_so(database: SqliteDatabase, key: bytes | None, reason: str) -> None:
    """With no key or another one the secrets cannot be read, the error says why, and all else works."""
    await sealed(database).add_container(container("box"), domain_secrets=SECRETS)
    store = sealed(database, key)
    with pytest.raises(StorageError, match=f"^The secrets of the container cannot be read: {reason}\\.$") as caught:
        await store.get_domain_secrets("ours", "box")
    assert (caught.value.code, caught.value.is_final) == ("secrets_unreadable", True)
    assert (await store.get_container("ours", "box")).container.id == "box"
    await store.delete_container("ours", "box")


@pytest.mark.parametrize(
    "change",
    [
        "value = (SELECT value FROM domain_secrets WHERE domain = 'b.example')",
        "value = 'AAAA'",
        "value = 'no Base64!'",
        "domain = 'evil.example'",
    ],
)
async def test_a_changed_row_is_noticed(database: SqliteDatabase, change: str) -> None:
    """A value that was changed, or moved to another domain, is an error and never a wrong secret."""
    store = sealed(database)
    await store.add_container(container("box"), domain_secrets=SECRETS)
    await database.write(lambda transaction: transaction.run(f"UPDATE domain_secrets SET {change} WHERE seq = 1"))  # noqa: S608 - constants
    with pytest.raises(StorageError, match="they were changed in the database"):
        await store.get_domain_secrets("ours", "box")


async def test_plain_secrets_are_read_with_a_key_too(database: SqliteDatabase) -> None:
    """Secrets from the time before there was a key stay readable."""
    await sealed(database, None).add_container(container("box"), domain_secrets=SECRETS)
    assert await sealed(database).get_domain_secrets("ours", "box") == SECRETS


async def test_deleted_secrets_leave_the_disk(database: SqliteDatabase, tmp_path: Path) -> None:
    """Of many secrets that are deleted in any order nothing is left in any file after the database was tidied."""
    store, chance = sealed(database, None), random.Random(7)  # noqa: S311 - no secret depends on it
    names = [f"c{number}" for number in range(150)]
    for name in names:
        value = f"{MARKER}{name}-" + "x" * chance.choice([1, 100, 3000, 9000])
        secrets = [DomainSecret(domain="a.example", name="token", value=value)] * chance.randint(1, 4)
        await store.add_container(container(name), domain_secrets=secrets)
    assert "berth.db-wal" in found(tmp_path)
    chance.shuffle(names)
    for name in names[:75]:
        await store.delete_container("ours", name)
    await database.tidy()
    assert [name for name in names[:75] if found(tmp_path, f"{MARKER}{name}-")] == []
    assert [name for name in names[75:] if not found(tmp_path, f"{MARKER}{name}-")] == []
    for name in names[75:]:
        await store.delete_container("ours", name)
    await database.tidy()
    assert found(tmp_path) == []


async def test_a_reader_delays_the_end_of_a_secret(database: SqliteDatabase, tmp_path: Path) -> None:
    """While another process reads, the log cannot be emptied; that is no error, and the next time it is."""
    store = sealed(database, None)
    await store.add_container(container("box"), domain_secrets=SECRETS)
    await database.tidy()
    with closing(sqlite3.connect(tmp_path / "berth.db", isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM containers").fetchall()
        await store.delete_container("ours", "box")
        await database.tidy()
        assert "berth.db" in found(tmp_path)
    await database.tidy()
    assert found(tmp_path) == []


def test_key_ids_tell_keys_apart() -> None:
    """Each key has a name of its own, in which the key is not."""
    one, other = AesGcm(KEY), AesGcm(OTHER_KEY)
    assert one.key_id == AesGcm(KEY).key_id != other.key_id
    assert KEY.hex()[:8] not in one.key_id
    assert b64encode(KEY).decode()[:8] not in one.key_id
