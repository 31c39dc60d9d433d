"""From the headers of a request to who is calling."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.core.auth.credentials import HEADERS, Credentials
from berth.core.auth.virtual_keys import VirtualKey
from berth.core.caller import Caller
from berth.core.errors import AuthenticationError
from support.fakes.stores import FixedClock
from support.servers.service import credentials


def basic(user_and_password: str) -> tuple[str, str]:
    return "authorization", "Basic " + base64.b64encode(user_and_password.encode()).decode()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (("x-bf-vk", "sk-bf-ours"), "first"),
        (("x-bf-vk", "  sk-bf-ours "), "first"),
        (("authorization", "Bearer sk-bf-ours"), "first"),
        (("authorization", "bearer   sk-bf-theirs"), "second"),
        (("x-api-key", "sk-bf-theirs"), "second"),
        (("x-goog-api-key", "sk-bf-ours"), "first"),
        (("api-key", "sk-bf-ours"), "first"),
        (basic("ops:pass:wörd"), "ops"),
    ],
)
async def test_each_scheme_lets_the_right_one_in(header: tuple[str, str], name: str) -> None:
    """A known key says who is calling in every header it may come in."""
    assert (await credentials().authenticate([header])).name == name


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([], "virtual_key_required"),
        ([("x-bf-vk", "sk-bf-nobody")], "virtual_key_not_found"),
        ([("x-bf-vk", "")], "virtual_key_not_found"),
        ([("x-bf-vk", "SK-BF-OURS")], "virtual_key_not_found"),
        ([("authorization", "Bearer sk-bf-nobody")], "virtual_key_not_found"),
        ([("authorization", "Bearer sk-proj-of-a-provider")], "virtual_key_not_found"),
        ([("authorization", "sk-bf-ours")], "virtual_key_not_found"),
        ([("authorization", "Bearer")], "virtual_key_not_found"),
        ([("authorization", "")], "virtual_key_not_found"),
        ([("x-api-key", "sk-bf-nobody")], "virtual_key_not_found"),
        ([("x-api-key", "a-key-of-a-provider")], "virtual_key_not_found"),
        ([basic("ops:wrong")], "basic_user_not_found"),
        ([basic("nobody:pass:wörd")], "basic_user_not_found"),
        ([basic("ops")], "basic_user_not_found"),
        ([("authorization", "Basic !!!")], "basic_user_not_found"),
        ([("authorization", "Basic é")], "basic_user_not_found"),
        ([("authorization", "Basic")], "basic_user_not_found"),
        ([("authorization", "Basic sk-bf-ours")], "basic_user_not_found"),
        ([("x-bf-vk", "sk-bf-ours"), ("x-bf-vk", "sk-bf-theirs")], "conflicting_credentials"),
        ([("x-bf-vk", "sk-bf-ours"), ("authorization", "Bearer sk-bf-theirs")], "conflicting_credentials"),
        ([("x-bf-vk", "sk-bf-ours"), ("authorization", "Bearer sk-bf-nobody")], "conflicting_credentials"),
        ([("x-api-key", "sk-bf-ours"), basic("ops:pass:wörd")], "conflicting_credentials"),
    ],
)
async def test_nobody_else_is_let_in(headers: list[tuple[str, str]], code: str) -> None:
    """No credential, a wrong one, and two that differ have each a code of their own."""
    with pytest.raises(AuthenticationError) as caught:
        await credentials().authenticate(headers)
    assert caught.value.code == code
    assert not [value for _, value in headers if value and value in caught.value.message]


@pytest.mark.parametrize("other", ["Bearer sk-proj-of-a-provider", "Bearer sk-bf-ours"])
async def test_a_second_credential_does_no_harm_if_it_does_not_contradict(other: str) -> None:
    """The same key twice is one key, and a provider's key beside it says nothing about who is calling."""
    caller = await credentials().authenticate([("x-bf-vk", "sk-bf-ours"), ("authorization", other)])
    assert caller.name == "first"


async def test_without_auth_everybody_is_the_same() -> None:
    """With an anonymous caller no credential is asked for, nor looked at."""
    anonymous = Caller("all", "anonymous")
    open_to_all = Credentials(virtual_keys={}, basic_users={}, now=FixedClock(), anonymous=anonymous)
    assert await open_to_all.authenticate([]) is anonymous
    assert await open_to_all.authenticate([("x-bf-vk", "sk-bf-nobody")]) is anonymous


def test_credentials_do_not_show_secrets() -> None:
    """No key and no password can be read out of the object."""
    assert "sk-bf-ours" not in repr(vars(credentials()))
    assert "pass:w" not in repr(vars(credentials()))


@given(st.lists(st.tuples(st.sampled_from(sorted(HEADERS)), st.text())))
async def test_arbitrary_headers_let_nobody_in(headers: list[tuple[str, str]]) -> None:
    """Whatever the headers hold, the answer is an AuthenticationError."""
    with pytest.raises(AuthenticationError):
        await credentials().authenticate(headers)


WITH_DIRECT = Credentials(
    virtual_keys={"sk-bf-ours": VirtualKey(Caller("ours", "first"))},
    basic_users={},
    now=FixedClock(),
    direct_secret=b"secret",
)


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key", "api-key"])
async def test_a_providers_key_is_a_tenant_of_its_own(name: str) -> None:
    """Alone, where it is allowed, it says who is calling: the same tenant each time, which tells nothing of the key."""
    caller = await WITH_DIRECT.authenticate([(name, "sk-proj-1")])
    assert caller.direct_key == "sk-proj-1"
    assert "sk-proj-1" not in repr(caller)
    assert caller.tenant == (await WITH_DIRECT.authenticate([("authorization", "Bearer sk-proj-1")])).tenant
    assert caller.tenant != (await WITH_DIRECT.authenticate([(name, "sk-proj-2")])).tenant


async def test_a_virtual_key_comes_before_a_providers() -> None:
    """Beside a credential of ours a provider's key says nothing; two of the provider's contradict each other."""
    both = [("authorization", "Bearer sk-proj-1"), ("x-bf-vk", "sk-bf-ours")]
    assert await WITH_DIRECT.authenticate(both) == Caller("ours", "first")
    with pytest.raises(AuthenticationError) as caught:
        await WITH_DIRECT.authenticate([("authorization", "Bearer sk-proj-1"), ("api-key", "sk-proj-2")])
    assert caught.value.code == "conflicting_credentials"


async def test_an_empty_key_is_nobody() -> None:
    """A header without a key is refused, whether direct keys are allowed or not, and the message says why."""
    for accepted in (WITH_DIRECT, credentials()):
        for header in (("authorization", "Bearer "), ("authorization", "Bearer"), ("x-api-key", ""), ("x-bf-vk", " ")):
            with pytest.raises(AuthenticationError, match=r"^the key in the request is empty\.") as caught:
                await accepted.authenticate([header])
            assert caught.value.code == "virtual_key_not_found"
