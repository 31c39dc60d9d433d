"""ObjectBlobs, beyond the contract of BlobStore: what is left in the bucket, and how its errors are reported."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.store import LocalStore

from berth.adapters.blobs.object_errors import reason
from berth.adapters.blobs.object_settings import ObjectSettings, store_of
from berth.adapters.blobs.object_upload import SLOWEST_UPLOAD_SECONDS
from berth.adapters.blobs.objects import MARKER, ObjectBlobs
from berth.core.errors import DAMAGED, STORAGE_RETRY_SECONDS, InvalidRequestError, NotFoundError, StorageError
from support.providers.raw import refusing
from support.servers.s3 import S3, S3_URL

KEY = "ab/abcd"
MIB = 1024 * 1024
PART = 5 * MIB


async def pieces(size: int) -> AsyncIterator[bytes]:
    """Yield zeros in pieces of up to 64 KiB, as calls deliver them."""
    for start in range(0, size, 65_536):
        yield bytes(min(65_536, size - start))


async def put_small(blobs: ObjectBlobs, key: str = KEY) -> None:
    await blobs.put(key, pieces(3))


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 65_537])
async def test_sizes_around_a_part(s3: S3, size: int) -> None:
    """A blob of about one part, or of several, is stored whole."""
    blobs = s3.opened()
    await blobs.put(KEY, pieces(size))
    assert await blobs.size(KEY) == size
    assert (s3.objects(), s3.uploads()) == ([KEY], [])


@pytest.mark.parametrize("size", [0, 1, PART, PART + 1, 3 * PART])
async def test_an_upload_that_breaks_off_leaves_nothing(s3: S3, size: int) -> None:
    """If the chunks end with an error, neither an object nor a part of one is left."""
    blobs = s3.opened()

    async def broken() -> AsyncIterator[bytes]:
        async for piece in pieces(size):
            yield piece
        raise InvalidRequestError("cut off")

    with pytest.raises(InvalidRequestError, match="cut off"):
        await blobs.put(KEY, broken())
    assert (s3.objects(), s3.uploads()) == ([], [])


@pytest.mark.parametrize("steps", [0, 1, 3, 10, 30, 100, 200, 250])
async def test_cancelling_at_any_moment_leaves_nothing(s3: S3, steps: int) -> None:
    """Whenever a put is cancelled, and again while it cleans up, neither an object nor a part of one is left."""
    blobs = s3.opened()
    task = asyncio.ensure_future(blobs.put(KEY, pieces(3 * PART)))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (s3.objects(), s3.uploads()) == ([], [])


@pytest.mark.parametrize("size", [3, 3 * PART])
async def test_cancelling_at_the_end_leaves_nothing(s3: S3, size: int) -> None:
    """A put that is cancelled when the store has all bytes, but has not answered yet, leaves no object."""
    blobs = s3.opened()
    has_sent = asyncio.Event()

    async def watched() -> AsyncIterator[bytes]:
        async for piece in pieces(size):
            yield piece
        has_sent.set()

    task = asyncio.ensure_future(blobs.put(KEY, watched()))
    await has_sent.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (s3.objects(), s3.uploads()) == ([], [])


async def test_without_a_server_every_operation_says_when_to_try_again(s3: S3) -> None:
    """If nothing answers, each operation raises StorageError with a time, and its message names no key and no URL."""
    with refusing() as url:
        blobs = ObjectBlobs(store_of(s3.at(url).object_settings()))
        errors = await asyncio.gather(
            put_small(blobs),
            blobs.put(KEY, pieces(2 * PART)),
            blobs.get(KEY, offset=0, length=1),
            blobs.size(KEY),
            blobs.delete([KEY]),
            anext(aiter(blobs.older_than(1))),
            blobs.check(),
            return_exceptions=True,
        )
    assert [type(error) for error in errors] == [StorageError] * 7
    assert {(str(error), error.retry_after_seconds) for error in errors if isinstance(error, StorageError)} == {
        ("The blob store failed.", STORAGE_RETRY_SECONDS)
    }


async def test_a_bucket_that_is_gone_is_not_a_missing_blob(s3: S3) -> None:
    """If the bucket or the prefix does not exist, nothing says that a blob was deleted: it would count as damaged."""
    for wrong in (s3, s3.fresh()):
        settings = wrong.object_settings()
        if wrong is s3:
            settings = ObjectSettings(
                "s3://no-such-bucket", settings.endpoint, settings.region, credentials=settings.credentials
            )
        blobs = ObjectBlobs(store_of(settings))
        with pytest.raises(StorageError):
            await blobs.get(KEY, offset=0, length=1)
        with pytest.raises(StorageError):
            await blobs.size(KEY)


def test_a_bucket_that_cannot_be_opened_is_refused(s3: S3) -> None:
    """The operator reads that the bucket does not exist, or that no Berth has used the prefix."""
    settings = s3.object_settings()
    gone = ObjectSettings("s3://no-such-bucket", settings.endpoint, settings.region, credentials=settings.credentials)
    with pytest.raises(StorageError, match=r"^Cannot open the blob store s3://no-such-bucket: the bucket does not"):
        ObjectBlobs.open(gone)
    with pytest.raises(StorageError, match="no Berth has used it with this prefix"):
        ObjectBlobs.open_existing(settings)
    s3.opened()
    ObjectBlobs.open_existing(settings).close()


async def test_a_short_object_is_damaged(s3: S3) -> None:
    """A range that an object does not have is damage: the row says that it has it."""
    blobs = s3.opened()
    await put_small(blobs)
    for offset, length in ((0, 4), (2, 2), (3, 1), (9, 1), (4, 0)):
        with pytest.raises(StorageError) as caught:
            _ = [chunk async for chunk in await blobs.get(KEY, offset=offset, length=length)]
        assert caught.value.code == DAMAGED


async def test_an_object_gets_old(s3: S3) -> None:
    """An object is old as soon as the store's clock says so, and not before its upload could have begun long ago."""
    blobs = s3.opened()
    exact = ObjectBlobs(blobs._store, margin_seconds=0)
    await put_small(blobs)
    while not [key async for keys in exact.older_than(1) for key in keys]:  # noqa: ASYNC110 - the server's clock
        await asyncio.sleep(0.1)
    assert [key async for keys in blobs.older_than(1) for key in keys] == []


async def test_a_held_bucket_keeps_blobs(s3: S3) -> None:
    """While one process holds the bucket, another deletes nothing; afterwards it deletes."""
    blobs, other = s3.opened(), s3.opened()
    await put_small(blobs)
    with blobs.held():
        await other.delete([KEY])
        assert s3.objects() == [KEY]
        with pytest.raises(StorageError, match=r"^Another backup"), other.held():
            pass
    await other.delete([KEY])
    assert s3.objects() == []


async def test_the_hold_of_a_killed_backup_ends(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hold that is not renewed any more keeps nothing, and does not prevent the next one."""
    blobs = s3.opened()
    await put_small(blobs)
    with blobs.held():
        monkeypatch.setattr("berth.adapters.blobs.object_hold.LEASE_SECONDS", -10.0)
        with s3.opened().held():
            pass
        await blobs.delete([KEY])
    assert s3.objects() == []


@pytest.mark.skipif(S3_URL is not None, reason="not every server says how an object is encrypted")
async def test_objects_are_encrypted_as_configured(s3: S3) -> None:
    """Small and large objects ask for the encryption of the settings."""
    blobs = ObjectBlobs.open(s3.object_settings(encryption="AES256"))
    await put_small(blobs)
    await blobs.put("ab/large", pieces(2 * PART))
    for key in (KEY, "ab/large"):
        head = s3.client.head_object(Bucket=s3.bucket, Key=f"{s3.prefix}/{key}")
        assert head["ServerSideEncryption"] == "AES256"


async def test_other_stores_may_miss_what_is_deleted(tmp_path: Path) -> None:
    """Where deleting an object that does not exist is an error, as in GCS and Azure, it is not one of Berth's."""
    blobs = ObjectBlobs(LocalStore(tmp_path))
    (tmp_path / MARKER).touch()
    for number in range(12):
        await put_small(blobs, f"ab/{number}")
    await blobs.delete(["ab/none", *(f"ab/{number}" for number in range(12))])
    with pytest.raises(NotFoundError):
        await blobs.get("ab/0", offset=0, length=1)


@pytest.mark.parametrize("url", ["gs://bucket/prefix", "az://container/prefix", "s3://bucket"])
def test_a_store_of_each_kind_can_be_made(url: str) -> None:
    """No store connects before it is used."""
    credentials = None if url.startswith("az") else dict
    account = "account" if url.startswith("az") else None
    assert store_of(ObjectSettings(url, account=account, credentials=credentials))


def test_a_reason_has_no_signature() -> None:
    """What is logged about an error is a line without the query of a URL and without the store's whole document."""
    error = OSError(
        "PUT https://a.net/c/k?sv=1&sig=secret - 403: <?xml?><Code>Denied</Code><Id>x</Id>\n\nDebug source:"
    )
    assert str(reason(error)) == "PUT https://a.net/c/k?… - 403: Denied"


@pytest.mark.skipif(S3_URL is not None, reason="not every server has lifecycle rules")
def test_the_lifecycle_rule_for_s3_is_valid(s3: S3) -> None:
    """A server accepts the shipped rule, which leaves uploads more time than Berth gives them."""
    rules = json.loads((Path(__file__).parents[2] / "deploy" / "buckets" / "s3-lifecycle.json").read_text())
    name = f"rules-{s3.prefix[-12:]}"
    s3.client.create_bucket(Bucket=name)
    s3.client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=rules)
    (rule,) = s3.client.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] * 86_400 > SLOWEST_UPLOAD_SECONDS


def test_without_a_bucket_the_library_is_not_loaded() -> None:
    """A process that has imported what `berth up` runs has not loaded obstore, which takes 10 MiB."""
    program = "import sys, berth.app.service; sys.exit('obstore' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
