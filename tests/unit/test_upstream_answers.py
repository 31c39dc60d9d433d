"""What PassthroughBackend sends, and what it makes of what comes back, before a real server."""

import json
from collections.abc import AsyncIterator

import pytest
from google.protobuf.json_format import MessageToDict

from berth.adapters.upstream.dialects import Dialect
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.caller import Caller, Options
from berth.core.errors import (
    BerthError,
    ContainerExpiredError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    RateLimitError,
    UnsupportedOperationError,
    UpstreamError,
    UpstreamTimeoutError,
)
from berth.v1.container_file_service_pb2 import RetrieveContainerFileRequest
from berth.v1.container_pb2 import CONTAINER_STATUS_RUNNING, ExpiresAfter, NetworkPolicyType
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DomainSecret,
    NetworkPolicyParam,
    RetrieveContainerRequest,
    Skill,
)
from berth.v1.provider_pb2 import Provider
from support.fakes.subjects import OURS, refused
from support.fakes.uploads import GivenUpload
from support.providers.scripted import CONTAINER, FILE, MAIN, Behaviour, Provided, answer, passing, refuse
from support.servers.passthrough import Passthrough

OPENAI = Provider.PROVIDER_OPENAI
SECRET = "the-domain-secret"
FULL = CreateContainerRequest(
    provider=OPENAI,
    name="box",
    expires_after=ExpiresAfter(anchor="last_active_at", minutes=7),
    file_ids=["file-1"],
    memory_limit="4g",
    metadata={"team": "a"},
    network_policy=NetworkPolicyParam(
        type=NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST,
        allowed_domains=["example.org"],
        domain_secrets=[DomainSecret(domain="example.org", name="KEY", value=SECRET)],
    ),
    skills=[Skill(type="skill_reference", skill_id="skill_1", version="2")],
)
BOX = RetrieveContainerRequest(container_id="cntr_1")
ERROR = {"message": "No.", "type": "some_type", "param": "some_param", "code": "some_code"}


@pytest.fixture
async def passed(provider: Provided) -> AsyncIterator[Passthrough]:
    """Open a backend that has made the container cntr_1."""
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(OURS, CreateContainerRequest(provider=OPENAI, name="box"))
        provider.asked.clear()
        yield passed


async def test_everything_is_forwarded(provider: Provided) -> None:
    """A create carries all that the caller gave, in the provider's own words, and nothing of Berth's."""
    async with passing(provider.port, MAIN) as passed:
        await passed.backend.create_container(OURS, FULL)
    assert json.loads(provider.asked[0].body) == {
        "name": "box",
        "expires_after": {"anchor": "last_active_at", "minutes": 7},
        "file_ids": ["file-1"],
        "memory_limit": "4g",
        "metadata": {"team": "a"},
        "network_policy": {
            "type": "allowlist",
            "allowed_domains": ["example.org"],
            "domain_secrets": [{"domain": "example.org", "name": "KEY", "value": SECRET}],
        },
        "skills": [{"type": "skill_reference", "skill_id": "skill_1", "version": "2"}],
    }


async def test_every_field_comes_back(provider: Provided, passed: Passthrough) -> None:
    """Whatever the provider says of a container is in the answer, numbers that are texts and labels included."""
    provider.answers(answer(CONTAINER | {"created_at": "1700000000", "last_active_at": 1.7e9, "metadata": {"n": 1}}))
    container = await passed.backend.retrieve_container(OURS, BOX)
    assert container.created_at == container.last_active_at == 1_700_000_000
    assert (container.name, container.status, container.memory_limit) == ("box", CONTAINER_STATUS_RUNNING, "4g")
    assert (container.expires_after.minutes, dict(container.metadata)) == (20, {"n": "1"})
    assert list(container.network_policy.allowed_domains) == ["example.org"]
    assert container.extra_fields.provider == OPENAI
    assert container.extra_fields.HasField("upstream_latency")
    assert not container.extra_fields.HasField("raw_request")


async def test_what_is_missing_stays_absent(provider: Provided, passed: Passthrough) -> None:
    """Nulls, missing fields and a status without a name here are no errors."""
    provider.answers(answer({"id": "cntr_1", "status": "dreaming", "expires_after": None, "created_at": None}))
    container = await passed.backend.retrieve_container(OURS, BOX)
    present = {field.name for field, _ in container.ListFields()}
    assert present == {"id", "object", "extra_fields", "provider"}


MALFORMED: dict[str, Behaviour] = {
    "HTML": answer(b"<html>secret</html>", Content_Type="text/html"),
    "empty": answer(b""),
    "truncated": answer(b'{"id": "cntr_1"'),
    "a list": answer([1]),
    "another shape": answer({"id": 5}),
    "another kind": answer(CONTAINER | {"object": "thread"}),
    "another container": answer(CONTAINER | {"id": "cntr_2"}),
    "no number": answer(CONTAINER | {"created_at": "soon"}),
    "too large a number": answer(CONTAINER | {"created_at": 1e300}),
    "policy of another shape": answer(CONTAINER | {"network_policy": "all"}),
    "an error inside": answer({"error": ERROR}),
    "a redirect": answer(b"", status=302, Location="/v2"),
    "HTML with 502": answer(b"<html>secret</html>", status=502),
    "an encoding nobody asked for": answer(b"\x1f\x8b", Content_Encoding="gzip"),
    "too much": answer(b" " * 2_000_000),
}


@pytest.mark.parametrize("step", MALFORMED.values(), ids=MALFORMED.keys())
async def test_what_nobody_can_read_is_the_providers_fault(provider: Provided, step: Behaviour) -> None:
    """A malformed answer is a 503 with a text of our own, never a traceback and never the provider's page."""
    async with passing(provider.port, MAIN, max_answer_bytes=1_000_000) as passed:
        await passed.backend.create_container(OURS, CreateContainerRequest(provider=OPENAI, name="box"))
        provider.answers(step)
        error = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert (isinstance(error, UpstreamError), error.code) == (True, "provider_server_error")
    assert error.message.startswith("openai answered ")
    assert "secret" not in error.message


STATUSES = {
    400: InvalidRequestError,
    404: NotFoundError,
    409: IdempotencyConflictError,
    413: InvalidRequestError,
    422: InvalidRequestError,
}


@pytest.mark.parametrize(("status", "kind"), STATUSES.items())
async def test_an_error_of_the_callers_keeps_what_it_says(
    provider: Provided, passed: Passthrough, status: int, kind: type[BerthError]
) -> None:
    """Message, type, param and code of a 4xx reach the caller, after one call."""
    provider.answers(refuse(status))
    error = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert type(error) is kind
    assert (error.message, error.kind, error.param, error.code) == tuple(ERROR.values())
    assert len(provider.asked) == 1


async def test_an_expired_container_is_what_it_is_everywhere(provider: Provided, passed: Passthrough) -> None:
    """The provider's words for an expired container become the error that hosted ones raise."""
    provider.answers(answer({"error": {"message": "Container is expired.", "code": None}}, status=400))
    error = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert type(error) is ContainerExpiredError


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_read_is_repeated(provider: Provided, passed: Passthrough, status: int) -> None:
    """A read that may go well the next time is sent again, when the provider says so or after a backoff."""
    provider.answers(refuse(status, Retry_After="2"), refuse(status), answer(CONTAINER))
    await passed.backend.retrieve_container(OURS, BOX)
    assert (len(provider.asked), passed.slept[0]) == (3, 2.0)
    assert 0 <= passed.slept[1] <= 1


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimitError), (503, UpstreamError), (408, UpstreamTimeoutError)])
async def test_a_read_that_keeps_failing_fails(
    provider: Provided, passed: Passthrough, status: int, kind: type[BerthError]
) -> None:
    """After two repetitions, or one that cannot help, the last answer is what the caller is told."""
    provider.answers(refuse(status))
    error = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert (type(error), len(provider.asked)) == (kind, 1 if status == 408 else 3)


async def test_a_long_retry_after_is_not_waited_for(provider: Provided, passed: Passthrough) -> None:
    """A provider that wants half a minute and more, or more than is left, is not asked again."""
    provider.answers(refuse(429, Retry_After="31"))
    error = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert (error.retry_after_seconds, len(provider.asked), passed.slept) == (31, 1, [])


async def test_a_create_is_not_repeated(provider: Provided) -> None:
    """A create that may have been received is sent once."""
    provider.answers(refuse(503))
    async with passing(provider.port, MAIN) as passed:
        error = await refused(passed.backend.create_container(OURS, FULL))
    assert (error.code, len(provider.asked)) == ("provider_server_error", 1)


async def test_nobody_there_is_a_failed_connection() -> None:
    """A port that nobody listens on is tried three times, also for a create, and is a 503."""
    async with passing(1, MAIN) as passed:
        error = await refused(passed.backend.create_container(OURS, FULL))
    assert (type(error), error.code, len(passed.slept)) == (UpstreamError, "provider_connection_failed", 2)


async def test_raw_fields_are_shown_on_request_without_secrets(provider: Provided) -> None:
    """With both headers the answer tells what was sent and what came back, but no key and no secret."""
    options = Options(raw_request=True, raw_response=True)
    caller = Caller("ours", "first", options=options)
    provider.answers(answer(CONTAINER | {"echo": [f"{SECRET} and {MAIN.value}"]}))
    async with passing(provider.port, MAIN, extra_headers={"x-gate": "gate-secret"}) as passed:
        container = await passed.backend.create_container(caller, FULL)
    extra = MessageToDict(container.extra_fields, preserving_proto_field_name=True)
    assert extra["raw_response"]["echo"] == ["[redacted] and [redacted]"]
    assert extra["raw_request"]["path"] == "/containers"
    assert extra["raw_request"]["body"]["network_policy"]["domain_secrets"][0]["value"] == "[redacted]"
    assert provider.asked[0].headers["x-gate"] == "gate-secret"


async def test_an_error_does_not_echo_secrets(provider: Provided) -> None:
    """A provider that repeats a secret in its error does not make it known."""
    provider.answers(refuse(400, f"Bad value {SECRET}"))
    async with passing(provider.port, MAIN) as passed:
        error = await refused(passed.backend.create_container(OURS, FULL))
    assert error.message == "Bad value [redacted]"


@pytest.mark.parametrize("file_id", [".", "..", "a\nb", "a\x7f", "../x", "a?b=c", "a%2fb", "a;b", "a\\b", "é"])
async def test_what_is_no_id_is_not_sent(provider: Provided, passed: Passthrough, file_id: str) -> None:
    """Dots and control characters are refused before any call."""
    request = RetrieveContainerFileRequest(container_id="cntr_1", file_id=file_id)
    assert isinstance(await refused(passed.backend.retrieve_container_file(OURS, request)), NotFoundError)
    assert provider.asked == []


async def test_ids_are_escaped(provider: Provided, passed: Passthrough) -> None:
    """Whatever stands in an id, it stays one part of the path."""
    provider.answers(answer(FILE | {"id": "a:b=+,@c~"}))
    request = RetrieveContainerFileRequest(container_id="cntr_1", file_id="a:b=+,@c~")
    await passed.backend.retrieve_container_file(OURS, request)
    assert provider.asked[0].target == "/v1/containers/cntr_1/files/a%3Ab%3D%2B%2C%40c~"


@pytest.mark.parametrize(
    "container_id", ["a/b", "a?b", "a#b", "a%2fb", "a;b", "a b", "é", "a\\b", "x" * 1025, "..", ""]
)
async def test_an_id_that_no_path_can_carry_is_the_providers_fault(
    provider: Provided, passed: Passthrough, container_id: str
) -> None:
    """Berth would say that it made a container, and nobody could ever come to it."""
    provider.answers(answer(CONTAINER | {"id": container_id}))
    assert isinstance(await refused(passed.backend.create_container(OURS, FULL)), UpstreamError)


@pytest.mark.parametrize("header", ["9" * 400, "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_retry_after_without_end_is_thirty_days(provider: Provided, passed: Passthrough, header: str) -> None:
    """Longer than that is no answer, and in no message is there room for it."""
    provider.answers(refuse(429, Retry_After=header))
    error = await refused(passed.backend.create_container(OURS, FULL))
    assert error.retry_after_seconds in {1, 2_592_000}


async def test_what_a_provider_lacks_is_not_asked_for(provider: Provided) -> None:
    """An operation that the flavor lacks is refused in the documented words."""
    bare = Dialect(
        about="", example="", prefix="", key_header="x", key_form="{}", lacks=frozenset({"container_create"})
    )
    async with passing(provider.port, UpstreamKey("a", "b"), dialect=bare) as passed:
        error = await refused(passed.backend.create_container(OURS, FULL))
    assert isinstance(error, UnsupportedOperationError)
    assert error.message == "container_create is not supported by openai provider"
    assert provider.asked == []


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(400, False), (429, False), (500, False), (502, True), (503, False), (504, True)],
)
async def test_what_a_gateway_lost_may_have_been_done(provider: Provided, status: int, *, is_final: bool) -> None:
    """After a create that a gateway got no answer to, clients do not come again by themselves; after reads they may."""
    provider.answers(refuse(status))
    async with passing(provider.port, MAIN, max_retries=0) as passed:
        created = await refused(passed.backend.create_container(OURS, FULL))
        provider.answers(answer(CONTAINER), refuse(status))
        await passed.backend.create_container(OURS, FULL)
        read = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert (created.is_final, read.is_final) == (is_final, False)


UNREADABLE = {
    "no JSON": answer(b"<html>"),
    "nothing": answer(b"", status=201),
    "no container": answer([CONTAINER]),
    "no id": answer(CONTAINER | {"id": ""}),
    "encoded": answer(CONTAINER, Content_Encoding="x"),
    "too large": answer(b" " * 1_000_001),
}


@pytest.mark.parametrize("behaviour", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_what_cannot_be_read_may_have_been_done(provider: Provided, behaviour: Behaviour) -> None:
    """After a create with an unreadable response, clients do not try again by themselves; after reads they may."""
    async with passing(provider.port, MAIN, max_answer_bytes=1_000_000) as passed:
        await passed.backend.create_container(OURS, FULL)
        provider.answers(behaviour)
        upload = GivenUpload("cntr_1")
        created = await refused(passed.backend.create_container(OURS, FULL))
        uploaded = await refused(passed.backend.create_container_file(OURS, upload))
        read = await refused(passed.backend.retrieve_container(OURS, BOX))
    assert (created.is_final, uploaded.is_final, read.is_final) == (True, True, False)


async def test_an_error_in_a_successful_response_may_be_tried_again(provider: Provided) -> None:
    """A gateway that reports an error with status 200 has created nothing."""
    provider.answers(answer({"error": {"message": "No."}}))
    async with passing(provider.port, MAIN) as passed:
        error = await refused(passed.backend.create_container(OURS, FULL))
    assert (error.message, error.is_final) == ("openai answered with an error: No.", False)
