"""How PassthroughBackend goes about its keys, before a real server."""

import pytest

from berth.adapters.upstream.dialects import DIALECTS
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.caller import Caller, Options
from berth.core.errors import (
    AuthenticationError,
    BerthError,
    NotFoundError,
    PermissionDeniedError,
    ProviderNotConfiguredError,
    RateLimitError,
    UpstreamError,
)
from berth.v1.container_service_pb2 import CreateContainerRequest, ListContainersRequest, RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import MemoryStore
from support.fakes.subjects import OURS, THEIRS, refused
from support.providers.scripted import CONTAINER, MAIN, Provided, answer, passing, providing, refuse

OTHER = UpstreamKey("other", "sk-other-secret")
DIRECT = Caller("direct-1", "direct", direct_key="sk-own-secret")
NEW = CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="box")
BOX = RetrieveContainerRequest(container_id="cntr_1")
OK = answer(CONTAINER)


def used(provider: Provided) -> list[str]:
    """Return the keys that the calls came with."""
    return [asked.headers["Authorization"].removeprefix("Bearer ") for asked in provider.asked]


async def test_a_container_belongs_to_the_key_that_made_it(provider: Provided) -> None:
    """Later calls go to the key of the container alone, whatever is chosen for new ones."""
    chances = iter([0.9, 0.0])
    async with passing(provider.port, MAIN, OTHER, random=lambda: next(chances)) as passed:
        await passed.backend.create_container(OURS, NEW)
        await passed.backend.retrieve_container(OURS, BOX)
    assert used(provider) == [OTHER.value, OTHER.value]


async def test_what_is_somebody_elses_is_not_asked_for(provider: Provided) -> None:
    """A tenant that does not own a container gets a 404 without a call, and so does a wrong provider."""
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(OURS, NEW)
        errors = [
            await refused(passed.backend.retrieve_container(THEIRS, BOX)),
            await refused(
                passed.backend.retrieve_container(
                    OURS, RetrieveContainerRequest(container_id="cntr_1", provider=Provider.PROVIDER_AZURE)
                )
            ),
        ]
    assert {(type(error), error.message) for error in errors} == {(NotFoundError, "Container cntr_1 not found.")}
    assert len(provider.asked) == 1


async def test_a_limited_key_is_passed_over(provider: Provided) -> None:
    """A 429 on create goes on to the next key at once."""
    provider.answers(refuse(429, Retry_After="20"), OK)
    async with passing(provider.port, MAIN, OTHER) as passed:
        await passed.backend.create_container(OURS, NEW)
    assert (used(provider), passed.slept) == ([MAIN.value, OTHER.value], [])


async def test_the_last_key_is_waited_for_a_moment(provider: Provided) -> None:
    """With no other key left, a short Retry-After is waited for, once."""
    provider.answers(refuse(429, Retry_After="3"), OK)
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(OURS, NEW)
    assert (len(provider.asked), passed.slept) == (2, [3.0])


@pytest.mark.parametrize(("wait", "calls", "told"), [("6", 1, 6), ("0.2", 2, 1), (None, 1, 1)])
async def test_a_limit_that_stays_is_the_callers_to_wait_for(
    provider: Provided, wait: str | None, calls: int, told: int
) -> None:
    """A long wait, or a second refusal, is handed on with what the provider says."""
    provider.answers(refuse(429, "Slow down.", **({"Retry_After": wait} if wait else {})))
    async with passing(provider.port, MAIN) as passed:
        error = await refused(passed.backend.create_container(OURS, NEW))
    assert isinstance(error, RateLimitError)
    assert (error.message, error.code, error.kind, error.param) == (
        "Slow down.",
        "some_code",
        "some_type",
        "some_param",
    )
    assert (len(provider.asked), error.retry_after_seconds) == (calls, told)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_is_put_aside(provider: Provided, status: int) -> None:
    """A refused key gives way to the next, is not tried again for a minute, and the caller never hears of it."""
    provider.answers(refuse(status, f"Incorrect API key: {MAIN.value}"), OK, answer(CONTAINER | {"id": "cntr_2"}))
    async with passing(provider.port, MAIN, OTHER) as passed:
        await passed.backend.create_container(OURS, NEW)
        await passed.backend.create_container(OURS, NEW)
    assert used(provider) == [MAIN.value, OTHER.value, OTHER.value]
    assert [entry["key"] for entry in passed.log.entries if entry["event"] == "upstream.key_put_aside"] == ["main"]


async def test_when_no_key_is_let_in_it_is_our_fault(provider: Provided) -> None:
    """Refused keys are a 503 of their own, on create and later, without a word of the provider's."""
    async with passing(provider.port, MAIN, OTHER) as passed:
        await passed.backend.create_container(OURS, NEW)
        provider.answers(refuse(401, f"Incorrect API key: {MAIN.value}"))
        errors = [
            await refused(passed.backend.retrieve_container(OURS, BOX)),
            await refused(passed.backend.create_container(OURS, NEW)),
            await refused(passed.backend.create_container(OURS, NEW)),
        ]
    assert used(provider) == [MAIN.value, MAIN.value, OTHER.value]
    for error in errors:
        assert isinstance(error, UpstreamError)
        assert (error.code, error.message) == (
            "upstream_credentials_exhausted",
            "openai does not accept the configured keys.",
        )


async def test_a_limit_counts_more_than_a_refused_key(provider: Provided) -> None:
    """Where one key is limited and the other refused, the caller is told to come again."""
    provider.answers(refuse(429, Retry_After="20"), refuse(401))
    async with passing(provider.port, MAIN, OTHER) as passed:
        assert isinstance(await refused(passed.backend.create_container(OURS, NEW)), RateLimitError)


async def test_a_key_that_is_gone_is_said_to_be(provider: Provided) -> None:
    """A container of a key that is no longer configured is a 503 without a call."""
    store = MemoryStore()
    async with passing(provider.port, MAIN, store=store) as passed:
        await passed.backend.create_container(OURS, NEW)
    async with passing(provider.port, OTHER, store=store) as passed:
        error = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert (error.code, len(provider.asked)) == ("upstream_credentials_exhausted", 1)


async def test_a_callers_own_key_goes_upstream(provider: Provided) -> None:
    """A direct key is used alone, for its container too, and its account is named as the caller names it."""
    caller = Caller("direct-1", "direct", direct_key="sk-own-secret", options=Options(organization="org", project="pr"))
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(caller, NEW)
        await passed.backend.retrieve_container(caller, BOX)
        record = await passed.store.get_container("direct-1", "cntr_1")
    assert (used(provider), record.key) == (["sk-own-secret"] * 2, "direct")
    for asked in provider.asked:
        assert (asked.headers["OpenAI-Organization"], asked.headers["OpenAI-Project"]) == ("org", "pr")
    assert "sk-own-secret" not in repr(record)


@pytest.mark.parametrize(("status", "kind"), [(401, AuthenticationError), (403, PermissionDeniedError)])
async def test_a_callers_own_key_is_the_callers_business(
    provider: Provided, status: int, kind: type[BerthError]
) -> None:
    """That a direct key is refused is said in the provider's words, without the key, and puts nothing aside."""
    provider.answers(refuse(status, "Incorrect API key: sk-own-secret."))
    async with passing(provider.port, MAIN) as passed:
        error = await refused(passed.backend.create_container(DIRECT, NEW))
    assert (type(error), error.message) == (kind, "Incorrect API key: [redacted].")
    assert (error.code, error.kind) == ("some_code", "some_type")
    assert "upstream.key_put_aside" not in [entry["event"] for entry in passed.log.entries]


async def test_without_any_key_nothing_is_asked(provider: Provided) -> None:
    """A provider without keys is not configured for a caller that brings none."""
    async with passing(provider.port) as passed:
        for operation in (
            passed.backend.create_container(OURS, NEW),
            passed.backend.list_containers(OURS, ListContainersRequest(provider=Provider.PROVIDER_OPENAI)),
        ):
            assert isinstance(await refused(operation), ProviderNotConfiguredError)
        await passed.backend.create_container(DIRECT, NEW)
    assert used(provider) == ["sk-own-secret"]


async def test_azure_is_asked_its_own_way() -> None:
    """Azure has its own prefix, header and version; its containers are listed although it lists none."""
    async with (
        providing() as provider,
        passing(
            provider.port,
            MAIN,
            provider=Provider.PROVIDER_AZURE,
            dialect=DIALECTS["azure"],
            api_version="preview",
            base_url=f"http://127.0.0.1:{provider.port}/",
        ) as passed,
    ):
        await passed.backend.create_container(OURS, NEW)
        listed = await passed.backend.list_containers(OURS, ListContainersRequest(provider=Provider.PROVIDER_AZURE))
    (asked,) = provider.asked
    assert asked.target == "/openai/v1/containers?api-version=preview"
    assert asked.headers["api-key"] == MAIN.value
    assert "Authorization" not in asked.headers
    assert [container.id for container in listed.data] == ["cntr_1"]
