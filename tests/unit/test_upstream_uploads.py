"""Files on their way up through PassthroughBackend, before a real server."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from google.protobuf.struct_pb2 import Value

from berth.adapters.upstream.settings import UpstreamKey
from berth.core.errors import InvalidRequestError, NotFoundError, RateLimitError, UpstreamTimeoutError
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_service_pb2 import CreateContainerRequest, RetrieveContainerRequest
from berth.v1.provider_pb2 import Provider
from support.fakes.subjects import OURS, refused
from support.fakes.uploads import GivenUpload
from support.providers.scripted import FILE, Behaviour, Provided, answer, passing, refuse
from support.servers.passthrough import Passthrough
from support.servers.service import eventually

NEW = CreateContainerRequest(provider=Provider.PROVIDER_OPENAI, name="box")
NARROW = UpstreamKey("narrow", "sk-narrow", max_in_flight=1)


@pytest.fixture
async def passed(provider: Provided) -> AsyncIterator[Passthrough]:
    """Open a backend, whose only key has room for one call, that has made the container cntr_1."""
    async with passing(provider.port, NARROW) as passed:
        await passed.backend.create_container(OURS, NEW)
        provider.asked.clear()
        yield passed


async def test_an_upload_keeps_its_name_type_and_place(provider: Provided, passed: Passthrough) -> None:
    """The file arrives with the caller's own name, content type and path, and its answer is the file."""
    provider.answers(answer(FILE))
    upload = GivenUpload("cntr_1", filename='ä "b".txt', content_type="text/x-a", file_path="sub/a.txt")
    file = await passed.backend.create_container_file(OURS, upload)
    assert provider.asked[0].form == {
        "file_path": (None, None, b"sub/a.txt"),
        "file": ('ä "b".txt', "text/x-a", b"hello"),
    }
    assert (file.id, file.extra_fields.provider) == ("cfile_1", Provider.PROVIDER_OPENAI)


@pytest.mark.parametrize("name", ["100%22.txt", "a%0d.txt", "=?utf-8?Q?a?=", 'a\\".txt', "100%.txt", "a\\"])
async def test_a_name_that_looks_escaped_is_kept(provider: Provided, passed: Passthrough, name: str) -> None:
    """What some read as the escape of another character is said again in a notation that has no doubt."""
    provider.answers(answer(FILE))
    await passed.backend.create_container_file(OURS, GivenUpload("cntr_1", filename=name))
    assert provider.asked[0].form["file"][0] == name


async def test_unknown_fields_may_be_repeated(provider: Provided, passed: Passthrough) -> None:
    """A list in a form is a field that is there several times: each goes on, before the file and behind it."""

    def tag(name: str) -> AdditionalField:
        return AdditionalField(path=["tags[]"], value=Value(string_value=name))

    provider.answers(answer(FILE))
    upload = GivenUpload("cntr_1", additional_fields=[tag("a"), tag("a")])
    upload.then = lambda: setattr(upload, "additional_fields", [tag("a"), tag("a"), tag("b"), tag("a")])
    await passed.backend.create_container_file(OURS, upload)
    names = [(name, content) for name, content in provider.asked[0].parts if name != "file"]
    assert names == [("tags[]", b"a"), ("tags[]", b"a"), ("tags[]", b"a"), ("tags[]", b"b")]


@pytest.mark.parametrize("name", ["a\r\nb", "a\0b", "\x7f"])
async def test_a_field_has_no_control_characters(provider: Provided, passed: Passthrough, name: str) -> None:
    """In the headers of a form a line's end would be one."""
    fields = [AdditionalField(path=[name], value=Value(string_value="x"))]
    error = await refused(passed.backend.create_container_file(OURS, GivenUpload("cntr_1", additional_fields=fields)))
    assert isinstance(error, InvalidRequestError)
    assert provider.asked == []


async def test_a_path_may_come_behind_the_file(provider: Provided, passed: Passthrough) -> None:
    """A path that is known only when the file has been read is forwarded all the same."""
    provider.answers(answer(FILE))
    upload = GivenUpload("cntr_1")
    upload.then = lambda: setattr(upload, "file_path", "late.txt")
    await passed.backend.create_container_file(OURS, upload)
    assert provider.asked[0].form["file_path"] == (None, None, b"late.txt")
    assert provider.asked[0].form["file"][2] == b"hello"


async def test_a_file_can_be_copied_by_its_id(provider: Provided, passed: Passthrough) -> None:
    """An upload that names an existing file is JSON, with the path where there is one."""
    provider.answers(answer(FILE))
    await passed.backend.create_container_file(OURS, GivenUpload("cntr_1", file_id="file-1"))
    await passed.backend.create_container_file(OURS, GivenUpload("cntr_1", file_id="file-1", file_path="a"))
    bodies = [json.loads(asked.body) for asked in provider.asked]
    assert bodies == [{"file_id": "file-1"}, {"file_id": "file-1", "file_path": "a"}]


async def test_an_upload_is_sent_once(provider: Provided, passed: Passthrough) -> None:
    """A provider that fails is not sent the file again."""
    provider.answers(refuse(503))
    await refused(passed.backend.create_container_file(OURS, GivenUpload("cntr_1")))
    assert len(provider.asked) == 1


class BrokenUpload(GivenUpload):
    """An upload that breaks off."""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"hel"
        raise InvalidRequestError("The form is cut off.", param="body")


async def test_an_upload_that_breaks_off_is_never_whole(provider: Provided, passed: Passthrough) -> None:
    """The caller gets its own error, and the provider a broken body."""
    outcomes = list[str]()

    async def respond(request: web.Request) -> web.StreamResponse:
        try:
            await request.read()
        except BaseException as error:
            outcomes.append(type(error).__name__)
            raise
        outcomes.append("whole")
        return web.json_response(FILE)

    respond.reads_nothing = True  # type: ignore[attr-defined] # a mark for the provider
    provider.answers(respond)
    error = await refused(passed.backend.create_container_file(OURS, BrokenUpload("cntr_1")))
    assert (type(error), error.message) == (InvalidRequestError, "The form is cut off.")
    await eventually(lambda: bool(outcomes))
    assert "whole" not in outcomes


class EndlessUpload(GivenUpload):
    """An upload that has no end."""

    async def chunks(self) -> AsyncIterator[bytes]:
        while True:
            yield bytes(65_536)
            await asyncio.sleep(0)


async def test_a_refusal_ends_an_upload(provider: Provided, passed: Passthrough) -> None:
    """A provider that refuses before it has the whole file is believed at once."""
    respond = refuse(404, "Container not found.")
    respond.reads_nothing = True  # type: ignore[attr-defined] # a mark for the provider
    provider.answers(respond)
    async with asyncio.timeout(30):
        error = await refused(passed.backend.create_container_file(OURS, EndlessUpload("cntr_1")))
    assert (type(error), error.message) == (NotFoundError, "Container not found.")


async def test_a_good_answer_before_the_end_is_a_lie(provider: Provided, passed: Passthrough) -> None:
    """A provider that has not read the file cannot have stored it."""
    respond = answer(FILE)
    respond.reads_nothing = True  # type: ignore[attr-defined] # a mark for the provider
    provider.answers(respond)
    async with asyncio.timeout(30):
        error = await refused(passed.backend.create_container_file(OURS, EndlessUpload("cntr_1")))
    assert error.message == "openai answered before it had the whole file."


def hanging(arrived: asyncio.Event, left: asyncio.Event) -> Behaviour:
    async def respond(request: web.Request) -> web.StreamResponse:
        arrived.set()
        while request.transport is not None:  # noqa: ASYNC110 - aiohttp tells it in no other way
            await asyncio.sleep(0.005)
        left.set()
        return web.Response()

    respond.reads_nothing = True  # type: ignore[attr-defined] # a mark for the provider
    return respond


async def test_a_provider_that_takes_no_bytes_is_given_up(provider: Provided) -> None:
    """An upload that does not get on ends in a 504 when the time is up, although the caller has more to send."""
    async with passing(provider.port, NARROW, timeout_seconds=1.0) as passed:
        await passed.backend.create_container(OURS, NEW)
        provider.answers(hanging(asyncio.Event(), asyncio.Event()))
        error = await refused(passed.backend.create_container_file(OURS, EndlessUpload("cntr_1")))
    assert (type(error), error.message) == (UpstreamTimeoutError, "openai did not answer in time.")


class SlowUpload(GivenUpload):
    """An upload whose caller takes its time."""

    async def chunks(self) -> AsyncIterator[bytes]:
        yield b"hel"
        await asyncio.sleep(2.2)
        yield b"lo"


async def test_a_slow_caller_is_not_the_providers_fault(provider: Provided) -> None:
    """The time that the caller takes does not count against the provider."""
    async with passing(provider.port, NARROW, timeout_seconds=2.0) as passed:
        await passed.backend.create_container(OURS, NEW)
        provider.answers(answer(FILE))
        await passed.backend.create_container_file(OURS, SlowUpload("cntr_1"))
    assert provider.asked[-1].form["file"][2] == b"hello"


async def test_a_caller_who_goes_away_ends_the_call(provider: Provided, passed: Passthrough) -> None:
    """Cancelling ends the upstream call at once, and the key has room again."""
    arrived, left = asyncio.Event(), asyncio.Event()
    provider.answers(hanging(arrived, left))
    request = RetrieveContainerRequest(container_id="cntr_1")
    task = asyncio.create_task(passed.backend.retrieve_container(OURS, request))
    await asyncio.wait_for(arrived.wait(), 30)
    assert isinstance(await refused(passed.backend.retrieve_container(OURS, request)), RateLimitError)
    task.cancel()
    await asyncio.wait_for(left.wait(), 30)
    with pytest.raises(asyncio.CancelledError):
        await task
