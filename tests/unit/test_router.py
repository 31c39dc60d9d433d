"""Which backend answers, and which provider it is for."""

import pytest

from berth.core.caller import Caller
from berth.core.errors import (
    AuthenticationError,
    BerthError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderNotConfiguredError,
)
from berth.core.providers import PROVIDERS, provider_name
from berth.core.routing.accounts import Accounts
from berth.core.routing.router import MAX_REMEMBERED, Router
from berth.core.routing.unsupported import UnsupportedBackend
from berth.v1.provider_pb2 import Provider
from support.fakes.blobs import MemoryBlobs
from support.fakes.records import container
from support.fakes.stores import FixedClock, MemoryStore
from support.servers.hosted import hosted

OPENAI, COHERE, GROQ = Provider.PROVIDER_OPENAI, Provider.PROVIDER_COHERE, Provider.PROVIDER_GROQ
OLLAMA = Provider.PROVIDER_OLLAMA
NONE = Provider.PROVIDER_UNSPECIFIED
ANYONE = Caller("ours", "first")
COHERES, HOSTED = UnsupportedBackend(COHERE), UnsupportedBackend(GROQ)
ROUTER = Router({COHERE: COHERES}, hosted=HOSTED, store=MemoryStore())


class CountingStore(MemoryStore):
    """A store that counts how often it is asked for a provider."""

    def __init__(self) -> None:
        super().__init__()
        self.looked_up = 0

    async def get_provider(self, tenant: str, container_id: str, provider: Provider = NONE) -> Provider:
        self.looked_up += 1
        return await super().get_provider(tenant, container_id, provider)


def test_there_are_23_providers_with_short_names() -> None:
    """The short name is the name of the contract without its prefix, in lower case."""
    assert len(PROVIDERS) == 23
    assert PROVIDERS["openai"] == OPENAI
    assert provider_name(GROQ) == "groq"
    assert NONE not in PROVIDERS.values()


def test_the_named_provider_answers() -> None:
    """A request that names a provider goes to its backend; one that names none to the keeper."""
    assert ROUTER.backend(ANYONE, COHERE) is COHERES
    assert ROUTER.backend(ANYONE, NONE) is HOSTED


def test_a_new_container_needs_a_provider() -> None:
    """The named provider comes before the default one; without either the request is refused."""
    with_default = Router({}, hosted=HOSTED, store=MemoryStore(), default_provider=GROQ)
    assert with_default.provider_for_new(NONE) == GROQ
    assert with_default.provider_for_new(COHERE) == COHERE
    with pytest.raises(InvalidRequestError, match=r"^provider is required$") as caught:
        ROUTER.provider_for_new(NONE)
    assert (caught.value.param, caught.value.code) == ("provider", "missing_required_parameter")


@pytest.mark.parametrize(
    ("caller", "provider", "kind", "code"),
    [
        (ANYONE, 99, InvalidRequestError, "invalid_value"),
        (ANYONE, -1, InvalidRequestError, "invalid_value"),
        (Caller("ours", "k", frozenset({GROQ})), COHERE, PermissionDeniedError, "provider_blocked"),
        (Caller("ours", "k", frozenset()), COHERE, PermissionDeniedError, "provider_blocked"),
        (Caller("ours", "k", frozenset({GROQ})), OPENAI, PermissionDeniedError, "provider_blocked"),
        (ANYONE, OPENAI, ProviderNotConfiguredError, None),
    ],
)
def test_a_provider_is_refused(caller: Caller, provider: Provider, kind: type[BerthError], code: str | None) -> None:
    """One that does not exist, that the caller may not use, or that nothing is set for; in this order."""
    with pytest.raises(kind) as caught:
        ROUTER.backend(caller, provider)
    assert caught.value.code == code


def test_an_unconfigured_provider_is_told_with_what_to_set() -> None:
    """The refusal names both settings that would mend it."""
    with pytest.raises(ProviderNotConfiguredError) as caught:
        ROUTER.backend(ANYONE, OPENAI)
    assert "providers.openai.keys" in caught.value.message
    assert "providers.openai: {backend: hosted}" in caught.value.message
    assert caught.value.provider == "openai"


async def test_a_container_leads_to_its_backend() -> None:
    """Its provider's backend answers, whether that is named or not, and to its owner alone; a wrong name is a 404."""
    store = MemoryStore()
    await store.add_container(container("box", provider=GROQ))
    other, own = (hosted(store, MemoryBlobs(), clock=FixedClock()) for _ in range(2))
    router = Router({OLLAMA: other, GROQ: own}, hosted=other, store=store)
    found = [await router.backend_of(ANYONE, provider, resource_id="box") for provider in (NONE, GROQ)]
    assert found == [(GROQ, own)] * 2
    for caller, provider, container_id, kind in (
        (ANYONE, NONE, "", InvalidRequestError),
        (ANYONE, GROQ, "", InvalidRequestError),
        (ANYONE, NONE, "other", NotFoundError),
        (ANYONE, OLLAMA, "box", NotFoundError),
        (Caller("theirs", "second"), NONE, "box", NotFoundError),
        (Caller("theirs", "second"), GROQ, "box", NotFoundError),
    ):
        with pytest.raises(kind):
            await router.backend_of(caller, provider, resource_id=container_id)


async def test_a_default_provider_is_no_contradiction() -> None:
    """What is known at another provider is found if the caller may use that one; otherwise the default is refused."""
    store = MemoryStore()
    await store.add_container(container("box", provider=GROQ))
    own = hosted(store, MemoryBlobs(), clock=FixedClock())
    router = Router({OLLAMA: own, GROQ: own}, hosted=own, store=store)
    unsupported = Router({COHERE: COHERES, GROQ: own}, hosted=own, store=store)
    assert await unsupported.backend_of(ANYONE, COHERE, resource_id="box", is_default=True) == (GROQ, own)
    assert await unsupported.backend_of(ANYONE, COHERE, resource_id="absent", is_default=True) == (COHERE, COHERES)
    only_groq, only_ollama = (Caller("ours", "some", frozenset({provider})) for provider in (GROQ, OLLAMA))
    for caller, default in ((ANYONE, OLLAMA), (ANYONE, GROQ), (ANYONE, OPENAI), (only_groq, OLLAMA)):
        assert await router.backend_of(caller, default, resource_id="box", is_default=True) == (GROQ, own)
    for caller, default, resource_id, kind in (
        (only_ollama, OLLAMA, "box", NotFoundError),
        (only_groq, OLLAMA, "absent", PermissionDeniedError),
        (ANYONE, OPENAI, "absent", ProviderNotConfiguredError),
        (Caller("theirs", "second"), OLLAMA, "box", NotFoundError),
    ):
        with pytest.raises(kind):
            await router.backend_of(caller, default, resource_id=resource_id, is_default=True)


async def test_the_provider_of_a_container_is_looked_up_once() -> None:
    """It never changes; what is remembered is bounded, and what is not there is not remembered."""
    store = CountingStore()
    own = hosted(store, MemoryBlobs(), clock=FixedClock())
    router = Router({GROQ: own}, hosted=own, store=store)
    with pytest.raises(NotFoundError):
        await router.backend_of(ANYONE, NONE, resource_id="box")
    await store.add_container(container("box", provider=GROQ))
    for _ in range(3):
        assert await router.backend_of(ANYONE, NONE, resource_id="box") == (GROQ, own)
    assert store.looked_up == 2
    for number in range(MAX_REMEMBERED):
        await store.add_container(container(f"c{number}", provider=GROQ))
        await router.backend_of(ANYONE, NONE, resource_id=f"c{number}")
    assert len(router._owned) == MAX_REMEMBERED == 10_000
    await router.backend_of(ANYONE, NONE, resource_id="box")
    assert store.looked_up == 3 + MAX_REMEMBERED


async def test_a_provider_without_containers_answers_by_itself() -> None:
    """Where it is named, whatever the container's id: it has no such operation, which is worth more than a 404."""
    assert await ROUTER.backend_of(ANYONE, COHERE, resource_id="box") == (COHERE, COHERES)


async def test_a_providers_key_is_good_for_that_provider_alone() -> None:
    """It works where its provider is named and takes such keys, and lets nobody in elsewhere."""
    direct = Caller("direct-1", "direct", direct_key="sk-proj-1")
    router = Router({COHERE: COHERES, GROQ: HOSTED}, hosted=HOSTED, store=MemoryStore(), direct=frozenset({COHERE}))
    assert router.backend(direct, COHERE) is COHERES
    for provider in (GROQ, NONE):
        with pytest.raises(AuthenticationError) as caught:
            router.backend(direct, provider)
        assert caught.value.code == "virtual_key_not_found"
    with pytest.raises(AuthenticationError):
        await router.backend_of(direct, NONE, resource_id="box")


class Keys:
    """An account: the tenants that have a key of their own, and whether everybody may reach everything."""

    def __init__(self, *tenants: str, is_open: bool = False) -> None:
        self.tenants = tenants
        self.is_open = is_open

    def owns(self, caller: Caller) -> bool:
        return caller.direct_key is not None or caller.tenant in self.tenants

    def admits_unknown(self, caller: Caller) -> bool:
        return self.owns(caller) or self.is_open

    def is_own_key(self, tenant: str, key: str) -> bool:
        return bool(tenant) and key != "shared"


@pytest.mark.parametrize(
    ("accounts", "named", "expected"),
    [
        ({OPENAI: Keys("ours")}, NONE, OPENAI),
        ({OPENAI: Keys("ours")}, OPENAI, OPENAI),
        ({OPENAI: Keys("ours"), GROQ: Keys("theirs")}, NONE, OPENAI),
        ({OPENAI: Keys("ours"), GROQ: Keys("theirs")}, GROQ, None),
        ({OPENAI: Keys("ours"), GROQ: Keys("ours")}, NONE, None),
        ({OPENAI: Keys("ours"), GROQ: Keys("ours")}, GROQ, GROQ),
        ({OPENAI: Keys("ours"), GROQ: Keys(is_open=True)}, NONE, OPENAI),
        ({GROQ: Keys(is_open=True)}, NONE, GROQ),
        ({OPENAI: Keys("theirs")}, NONE, None),
        ({OPENAI: Keys("theirs")}, OPENAI, None),
        ({}, OPENAI, None),
    ],
)
async def test_which_provider_is_asked_for_an_unknown_id(
    accounts: dict[Provider, Keys], named: Provider, expected: Provider | None
) -> None:
    """The named one, else the one where the caller has its only own account; none where others share the account."""
    backends = {OPENAI: HOSTED, GROQ: HOSTED}
    router = Router(backends, hosted=HOSTED, store=MemoryStore(), accounts=Accounts(accounts))
    if named:  # the backend of these tests answers by itself, whatever the id
        assert router._asked_for_unknown(ANYONE, named) == expected
    elif expected is None:
        with pytest.raises(NotFoundError):
            await router.backend_of(ANYONE, named, resource_id="box")
    else:
        assert await router.backend_of(ANYONE, named, resource_id="box") == (expected, HOSTED)


async def test_a_direct_key_without_a_provider() -> None:
    """It goes to the only provider that takes such keys; where there are two, the request must name one."""
    direct = Caller("direct-1", "direct", direct_key="sk-proj-1")
    backends = {OPENAI: HOSTED, GROQ: COHERES}
    one, two = (
        Router(backends, hosted=HOSTED, store=MemoryStore(), direct=frozenset(backends), accounts=Accounts(accounts))
        for accounts in ({GROQ: Keys()}, {GROQ: Keys(), OPENAI: Keys()})
    )
    assert one.backend(direct, NONE) is COHERES
    assert await one.backend_of(direct, NONE, resource_id="box") == (GROQ, COHERES)
    with pytest.raises(AuthenticationError):
        two.backend(direct, NONE)
    with pytest.raises(AuthenticationError):
        await two.backend_of(direct, NONE, resource_id="box")


async def test_a_container_that_is_known_elsewhere() -> None:
    """A container of another provider is not asked for at the named one; one that both have is found at each."""
    store = MemoryStore()
    await store.adopt(container("box", provider=GROQ))
    router = Router(
        {OPENAI: COHERES, GROQ: COHERES}, hosted=HOSTED, store=store, accounts=Accounts({OPENAI: Keys("ours")})
    )
    with pytest.raises(NotFoundError):
        await router._find(ANYONE, OPENAI, "box")
    await store.adopt(container("box", provider=OPENAI))
    assert [await router._find(ANYONE, provider, "box") for provider in (NONE, GROQ, OPENAI)] == [GROQ, GROQ, OPENAI]
