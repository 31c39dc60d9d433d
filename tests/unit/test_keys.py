"""Virtual keys: whom they admit, and how long a look-up is believed."""

import pytest

from berth.core.auth.virtual_keys import MAX_REMEMBERED, REMEMBERED_SECONDS, RememberedKeys, VirtualKey, digest_of
from berth.core.caller import Caller
from berth.core.errors import PermissionDeniedError
from support.fakes.keys import MemoryKeys
from support.fakes.stores import FixedClock

OURS = Caller("ours", "first")
DIGEST = digest_of("sk-bf-1")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (VirtualKey(OURS, active=False), "Virtual key is inactive"),
        (VirtualKey(OURS, active=False, expires_at=100), "Virtual key is inactive"),
        (VirtualKey(OURS, expires_at=100), "Virtual key has expired"),
        (VirtualKey(OURS, expires_at=99), "Virtual key has expired"),
    ],
)
def test_a_key_that_may_not_be_used_says_why(key: VirtualKey, message: str) -> None:
    """One that is inactive, or whose time is up, is a refusal in the words that clients know."""
    with pytest.raises(PermissionDeniedError, match=f"^{message}$") as caught:
        key.admit(100)
    assert caught.value.code == "virtual_key_blocked"


@pytest.mark.parametrize("key", [VirtualKey(OURS), VirtualKey(OURS, expires_at=101)])
def test_a_key_admits_its_caller(key: VirtualKey) -> None:
    """A key that is good until the next second is good."""
    assert key.admit(100) is OURS


async def test_a_look_up_is_believed_for_a_while(clock: FixedClock) -> None:
    """A key that is found, and one that is not, is asked for again only when its time is up."""
    store, time = MemoryKeys(), FixedClock(0)
    remembered = RememberedKeys(store, now=clock, timer=time)
    assert await remembered.find(DIGEST) is None
    await store.add(VirtualKey(OURS), DIGEST, now=clock())
    assert await remembered.find(DIGEST) is None
    time.advance(int(REMEMBERED_SECONDS))
    assert await remembered.find(DIGEST) == VirtualKey(OURS)
    await store.revoke("first", now=clock())
    assert await remembered.find(DIGEST) == VirtualKey(OURS)
    time.advance(int(REMEMBERED_SECONDS))
    assert await remembered.find(DIGEST) is None


async def test_what_is_remembered_is_bounded(clock: FixedClock) -> None:
    """However many wrong keys are tried, memory does not grow with them."""
    remembered = RememberedKeys(MemoryKeys(), now=clock, timer=FixedClock(0))
    for number in range(MAX_REMEMBERED + 10):
        await remembered.find(number.to_bytes(32))
    assert len(remembered._found) == MAX_REMEMBERED
