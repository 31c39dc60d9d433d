"""Bad input for files, over gRPC: the right status, the parameter's name, and neither row nor blob left behind."""

from collections.abc import AsyncIterator, Sequence

import pytest
from google.api.httpbody_pb2 import HttpBody

from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    CreateContainerFileRequest,
    RetrieveContainerFileContentRequest,
)
from berth.v1.container_service_pb2 import CreateContainerRequest
from support.servers.hosted import Kept, Left
from support.servers.service import GROQ, OLLAMA, OURS, THEIRS, Metadata, Served, refused

MISSING, INVALID, TOO_LONG = "missing_required_parameter", "invalid_value", "string_above_max_length"
FORM, JSON = "multipart/form-data; boundary=edge", "application/json"


def part(disposition: str, content: bytes = b"hello") -> bytes:
    return f"--edge\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode() + content + b"\r\n"


def file(filename: str = "a.txt", content: bytes = b"hello") -> bytes:
    return part(f'name="file"; filename="{filename}"', content)


def form(*parts: bytes) -> CreateContainerFileRequest:
    return body(b"".join(parts) + b"--edge--\r\n", FORM)


def body(data: bytes, content_type: str = "text/plain") -> CreateContainerFileRequest:
    return CreateContainerFileRequest(body=HttpBody(content_type=content_type, data=data))


async def summary_of(served: Served, metadata: Metadata = OURS) -> str:
    request = CreateContainerRequest(name="box", provider=OLLAMA)
    return (await served.containers.CreateContainer(request, metadata=metadata)).id


async def upload(served: Served, container_id: str, *requests: CreateContainerFileRequest) -> ContainerFile:
    async def stream() -> AsyncIterator[CreateContainerFileRequest]:
        for number, request in enumerate(requests):
            request.container_id = "" if number else container_id
            yield request

    return await served.files.CreateContainerFile(stream(), metadata=OURS)


@pytest.mark.parametrize(
    ("requests", "param", "code"),
    [
        ([], "file", MISSING),
        ([CreateContainerFileRequest()], "file", MISSING),
        ([form()], "file", MISSING),
        ([form(part('name="file_path"', b"a"))], "file", MISSING),
        ([form(file(), file())], "file", "duplicate_parameter"),
        ([form(part('name="file_id"', b"file-1"), file())], "file_id", "mutually_exclusive_parameters"),
        ([form(file(), part('name="file_id"', b"file-1"))], "file_id", "mutually_exclusive_parameters"),
        ([form(file(), part('name="provider"', b"groq"))], "provider", INVALID),
        ([form(part('name="provider"', b"nobody"), file())], "provider", INVALID),
        ([form(part('name="colour"', b"red"), file())], "colour", "unknown_parameter"),
        ([body(b"--other\r\n", FORM)], "body", INVALID),
        ([body(file(), FORM)], "body", INVALID),
        ([body(file()[:-3], FORM), body(b"and more")], "body", INVALID),
        ([body(file(), "multipart/form-data")], "body", INVALID),
        ([body(b"", JSON)], "body", "invalid_json"),
        ([body(b"{", JSON)], "body", "invalid_json"),
        ([body(b"[]", JSON)], "body", "invalid_type"),
        ([body(b'{"file_id":1}', JSON)], "file_id", "invalid_type"),
        ([body(b'{"file_id":"file-1"}', JSON)], "file_id", INVALID),
        ([form(file(content=b"x" * 100_001))], "file", "file_too_large"),
        ([body(b"x" * 60_000), body(b"x" * 40_001)], "file", "file_too_large"),
        ([form(file("x" * 300))], "filename", TOO_LONG),
        ([form(file("a%0D%0Ab"))], "filename", INVALID),
        ([form(part('name="file_path"', b"../a"), file())], "file_path", INVALID),
        ([form(part('name="file_path"', b"/etc/passwd"), file())], "file_path", INVALID),
        ([form(file(), part('name="file_path"', b"../a"))], "file_path", INVALID),
        ([form(file(), part('name="file_path"', b"taken"))], "file_path", "path_already_exists"),
        ([form(part('name="file_path"', b"x" * 1_015), file())], "file_path", TOO_LONG),
        ([body(b"hello", "no type")], "content_type", INVALID),
        ([body(b"x"), CreateContainerFileRequest(filename="a.txt", body=HttpBody(data=b"y"))], "filename", INVALID),
        ([body(b"x"), CreateContainerFileRequest(provider=GROQ)], "provider", INVALID),
    ],
)
async def test_an_upload_that_cannot_be_leaves_nothing(
    served: Served, kept: Kept, requests: Sequence[CreateContainerFileRequest], param: str, code: str
) -> None:
    """Each bad body is told by its parameter; only the file that was there before is there after."""
    container_id = await summary_of(served)
    await upload(served, container_id, CreateContainerFileRequest(file_path="taken", filename="a"))
    before = kept.left()
    error = await refused(upload(served, container_id, *requests))
    assert error.facts() == ("INVALID_ARGUMENT", code, param)
    assert (error.reply.error.type, error.reply.status_code) == ("invalid_request_error", 400)
    assert kept.left() == before == Left(containers=1, files=1, blobs=1)


@pytest.mark.parametrize(
    ("request_", "tail", "size"),
    [
        (form(file("dir/../a.txt")), "-a.txt", 5),
        (form(file("C:\\dir\\a.txt")), "-a.txt", 5),
        (form(file("a%22b.txt")), '-a"b.txt', 5),
        (form(file("日本語.txt")), "-日本語.txt", 5),
        (form(file("x" * 222)), "-" + "x" * 222, 5),
        (form(file(content=b"")), "-a.txt", 0),
        (form(file(content=b"x" * 100_000)), "-a.txt", 100_000),
        (body(b"x" * 100_000), "-file", 100_000),
        (body(b""), "-file", 0),
    ],
)
async def test_unusual_uploads_are_stored(
    served: Served, kept: Kept, request_: CreateContainerFileRequest, tail: str, size: int
) -> None:
    """Names with folders, quotes and other scripts, an empty file, and one of exactly the limit are fine."""
    stored = await upload(served, await summary_of(served), request_)
    assert stored.path.endswith(tail)
    assert stored.bytes == size
    assert kept.left() == Left(containers=1, files=1, blobs=1)


async def test_every_message_may_say_the_same(served: Served, kept: Kept) -> None:
    """What a later message repeats of the first one is no contradiction."""
    request = CreateContainerFileRequest(filename="a.txt", provider=OLLAMA, container_id=await summary_of(served))

    async def stream() -> AsyncIterator[CreateContainerFileRequest]:
        for data in (b"a", b"b"):
            request.body.CopyFrom(HttpBody(content_type="text/plain", data=data))
            yield request

    assert (await served.files.CreateContainerFile(stream(), metadata=OURS)).bytes == 2
    assert kept.left() == Left(containers=1, files=1, blobs=1)


@pytest.mark.parametrize("container_id", ["cntr_1", "a/b", "..", "a\0b", "名前", "x" * 10_240])
async def test_an_upload_into_nothing_is_not_found(served: Served, kept: Kept, container_id: str) -> None:
    """A container that is not there takes no file."""
    error = await refused(upload(served, container_id, body(b"hello")))
    assert error.facts() == ("NOT_FOUND", None, None)
    assert kept.left() == Left()


async def test_an_upload_needs_a_container(served: Served) -> None:
    """The container's id is required, whatever the body is."""
    assert (await refused(upload(served, "", body(b"hello")))).facts() == ("INVALID_ARGUMENT", MISSING, "container_id")


async def test_an_upload_into_anothers_container_is_not_found(served: Served, kept: Kept) -> None:
    """Another tenant's container, or one of another provider, takes no file either."""
    theirs = await summary_of(served, THEIRS)
    assert (await refused(upload(served, theirs, body(b"hello")))).facts() == ("NOT_FOUND", None, None)
    ours = await summary_of(served)
    request = CreateContainerFileRequest(provider=GROQ, filename="a")
    assert (await refused(upload(served, ours, request))).facts() == ("NOT_FOUND", None, None)
    assert kept.left() == Left(containers=2)


async def test_an_expired_container_takes_no_file(served: Served, kept: Kept) -> None:
    """A change of an expired container is FAILED_PRECONDITION without a code."""
    container_id = await summary_of(served)
    kept.clock.advance(20 * 60 + 1)
    error = await refused(upload(served, container_id, body(b"hello")))
    assert error.facts() == ("FAILED_PRECONDITION", None, None)
    assert error.message == "Container is expired."
    assert kept.left() == Left(containers=1)


@pytest.mark.parametrize(
    ("offset", "length", "code", "param"),
    [
        (6, None, "integer_above_max_value", "offset"),
        (-1, None, "integer_below_min_value", "offset"),
        (0, -1, "integer_below_min_value", "length"),
    ],
)
async def test_a_range_past_the_end_is_refused(
    served: Served, offset: int, length: int | None, code: str, param: str
) -> None:
    """Outside the file there is nothing to download."""
    container_id = await summary_of(served)
    stored = await upload(served, container_id, body(b"hello"))
    request = RetrieveContainerFileContentRequest(
        container_id=container_id, file_id=stored.id, offset=offset, length=length
    )
    error = await refused(anext(aiter(served.files.RetrieveContainerFileContent(request, metadata=OURS))))
    assert error.facts() == ("INVALID_ARGUMENT", code, param)
