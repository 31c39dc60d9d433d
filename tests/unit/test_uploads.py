"""From the bodies of CreateContainerFile to uploads: forms, JSON and plain bytes."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from copy import deepcopy
from typing import NamedTuple

import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import given, settings
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.uploads import bodies_of, open_upload
from berth.v1.additional_field_pb2 import AdditionalField
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest as Request
from berth.v1.file_pb2 import FileExpiresAfter
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.provider_pb2 import Provider

OLLAMA, GROQ, NONE = Provider.PROVIDER_OLLAMA, Provider.PROVIDER_GROQ, Provider.PROVIDER_UNSPECIFIED
MAX_JSON_BYTES = 1_048_576
FORM, JSON = "multipart/form-data; boundary=edge", "application/json; charset=utf-8"


class Taken(NamedTuple):
    """An upload, once all of it was read."""

    content: bytes = b""
    filename: str | None = None
    content_type: str | None = None
    file_path: str | None = None
    file_id: str | None = None
    provider: Provider = NONE
    additional_fields: Sequence[AdditionalField] = ()


async def _take(*requests: Request) -> Taken:
    async def stream() -> AsyncIterator[Request]:
        for request in requests:
            yield request

    upload = await open_upload(stream(), max_json_bytes=MAX_JSON_BYTES)
    content = b"".join([chunk async for chunk in upload.chunks()])
    return Taken(
        content,
        upload.filename,
        upload.content_type,
        upload.file_path,
        upload.file_id,
        provider=upload.provider,
        additional_fields=tuple(upload.additional_fields),
    )


def take(*requests: Request) -> Taken:
    return asyncio.run(_take(*requests))


def refused(*requests: Request) -> tuple[str | None, str | None]:
    with pytest.raises(InvalidRequestError) as caught:
        take(*requests)
    return caught.value.param, caught.value.code


def body(data: bytes, content_type: str = "") -> Request:
    return Request(body=HttpBody(content_type=content_type, data=data))


def field(name: str, value: str) -> bytes:
    return f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


FILE = (
    b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/x\r\n\r\nhello\r\n'
)
END = b"--edge--\r\n"


def form(*parts: bytes) -> Request:
    return body(b"".join(parts) + END, FORM)


@pytest.mark.parametrize(
    ("requests", "taken"),
    [
        ([body(b"hello", "text/plain")], Taken(b"hello", content_type="text/plain")),
        ([body(b"hel", "text/plain"), body(b""), body(b"lo", "ignored")], Taken(b"hello", content_type="text/plain")),
        ([body(b"", "text/plain"), body(b"hello")], Taken(b"hello", content_type="text/plain")),
        ([body(b"hello")], Taken(b"hello")),
        ([body(b"", "text/plain")], Taken(content_type="text/plain")),
        ([Request(filename="a")], Taken(filename="a")),
        ([Request(content_type="text/plain")], Taken(content_type="text/plain")),
        (
            [
                Request(filename="a", file_path="b", content_type="application/json", provider=OLLAMA),
                body(b"[]", FORM),
            ],
            Taken(b"[]", filename="a", content_type="application/json", file_path="b", provider=OLLAMA),
        ),
    ],
)
def test_plain_bytes_are_the_file(requests: list[Request], taken: Taken) -> None:
    """The bytes are the file, of the type that is said first; said apart, a type of a form is one as well."""
    assert take(*requests) == taken


def test_a_form_holds_the_file_and_what_belongs_to_it() -> None:
    """The fields of a form are those of the message, and the part has the file's name and type."""
    request = form(field("provider", "ollama"), field("file_path", "b"), FILE)
    assert take(request) == Taken(b"hello", "a.txt", "text/x", "b", provider=OLLAMA)


def test_only_the_path_may_stand_behind_the_file() -> None:
    """What decides where a file goes must come before it; its path is needed at the end only."""
    assert take(form(FILE, field("file_path", "b"))).file_path == "b"
    assert refused(form(FILE, field("provider", "ollama"))) == ("provider", "invalid_value")
    assert refused(form(FILE, field("file_id", "file-1"))) == ("file_id", "mutually_exclusive_parameters")


@pytest.mark.parametrize(
    ("request_", "taken"),
    [
        (body(b'{"file_id":"file-1","file_path":"b"}', JSON), Taken(file_path="b", file_id="file-1")),
        (form(field("file_id", "file-1")), Taken(file_id="file-1")),
        (Request(file_id="file-1"), Taken(file_id="file-1")),
        (
            Request(file_id="file-1", provider=OLLAMA, body=HttpBody(content_type=JSON, data=b'{"provider":"ollama"}')),
            Taken(file_id="file-1", provider=OLLAMA),
        ),
    ],
)
def test_a_file_that_exists_is_named(request_: Request, taken: Taken) -> None:
    """A file's id may stand in JSON, in a form, or in the message itself."""
    assert take(request_) == taken


@pytest.mark.parametrize(
    ("requests", "param", "code"),
    [
        ([], "file", "missing_required_parameter"),
        ([Request()], "file", "missing_required_parameter"),
        ([body(b"")], "file", "missing_required_parameter"),
        ([form()], "file", "missing_required_parameter"),
        ([form(field("file_path", "b"))], "file", "missing_required_parameter"),
        ([body(b"{}", JSON)], "file", "missing_required_parameter"),
        ([form(FILE, FILE)], "file", "duplicate_parameter"),
        ([form(field("file_id", "file-1"), FILE)], "file_id", "mutually_exclusive_parameters"),
        ([Request(file_id="file-1"), body(b"hello")], "file_id", "mutually_exclusive_parameters"),
        ([Request(file_id="file-1", filename="a")], "file_id", "mutually_exclusive_parameters"),
        ([Request(file_id="file-1", content_type="a/b")], "file_id", "mutually_exclusive_parameters"),
        (
            [Request(filename="a", body=form(field("file_id", "file-1")).body)],
            "file_id",
            "mutually_exclusive_parameters",
        ),
        ([Request(filename="other", body=form(FILE).body)], "filename", "invalid_value"),
        ([form(field("provider", "nobody"), FILE)], "provider", "invalid_value"),
        ([form(field("file_path", "a"), field("file_path", "b"), FILE)], "file_path", "invalid_value"),
        ([form(FILE, field("file_path", "a"), field("file_path", "b"))], "file_path", "invalid_value"),
        ([Request(provider=GROQ, body=form(field("provider", "ollama"), FILE).body)], "provider", "invalid_value"),
        ([body(FILE, FORM)], "body", "invalid_value"),
        ([body(FILE, "multipart/form-data")], "body", "invalid_value"),
        ([body(b"", JSON)], "body", "invalid_json"),
        ([body(b'{"file_id":', JSON)], "body", "invalid_json"),
        ([body(b'{"file_id":"\\ud800"}', JSON)], "file_id", "invalid_value"),
        ([body(b"[]", JSON)], "body", "invalid_type"),
        ([body(b'"file-1"', JSON)], "body", "invalid_type"),
        ([body(b'{"file_id":1}', JSON)], "file_id", "invalid_type"),
        ([body(b'{"file_id":null}', JSON)], "file", "missing_required_parameter"),
        ([body(b'{"colour":"red"}', JSON)], "file", "missing_required_parameter"),
        ([body(b'{"file_id":"a","file_id":"a"}', JSON)], "file_id", "duplicate_parameter"),
        ([body(b"[" * 60_000, JSON)], "body", "invalid_json"),
        ([body(b" " * 1_048_577, JSON)], "body", "request_too_large"),
        ([body(b"x", "no type")], "content_type", "invalid_value"),
        ([body(b"x", "text/plain\r\nx: y")], "content_type", "invalid_value"),
        ([body(b"x", "text/" + "x" * 251)], "content_type", "invalid_value"),
        ([Request(content_type="text/plain; x=é")], "content_type", "invalid_value"),
        ([form(FILE.replace(b"text/x", b"text"))], "content_type", "invalid_value"),
    ],
)
def test_what_is_no_upload_is_refused(requests: list[Request], param: str, code: str) -> None:
    """No file, two, one beside an id, unknown or contradicting fields, broken bodies: each names the parameter."""
    assert refused(*requests) == (param, code)


def test_json_may_be_as_long_as_the_configuration_says() -> None:
    """A JSON body of 1 048 576 bytes is read, in however many pieces."""
    text = b'{"file_id":"file-1"}'.ljust(1_048_576)
    assert take(body(text[:30_000], JSON), body(text[30_000:])).file_id == "file-1"


def test_what_the_contract_does_not_know_is_kept() -> None:
    """Fields of a JSON body or a form that are not in the contract are there for who keeps the container to judge."""
    inside = body(b'{"file_id":"file-1","colour":{"r":1}}', JSON)
    assert [list(field.path) for field in take(inside).additional_fields] == [["colour"]]
    late = form(field("colour", "red"), FILE, field("x" * 100, "é"))
    kept = [(list(field.path), field.value.string_value) for field in take(late).additional_fields]
    assert kept == [(["colour"], "red"), (["x" * 100], "é")]


@pytest.mark.parametrize("text", [b'{"a": 1}', b"[1, 2]", b"{", b'{"file_id": 5}'])
def test_a_json_document_gets_a_hint(text: bytes) -> None:
    """Who uploads a JSON document as it is learns how to send it as a file."""
    with pytest.raises(InvalidRequestError, match=r"send it in a form, or with \?content_type=application/json\."):
        take(body(text, JSON))
    assert take(Request(content_type="application/json", body=HttpBody(data=text))).content == text


def test_a_field_may_be_given_twice_if_both_are_the_same() -> None:
    """What agrees is no contradiction."""
    request = Request(file_path="b", provider=OLLAMA, body=form(field("file_path", "b"), FILE).body)
    assert take(request).file_path == "b"


SAID = [
    *(Request(file_path=""), Request(filename=""), Request(file_id=""), Request(content_type="")),
    *(Request(container_id="cntr_1"), Request(provider=GROQ), CreateFileRequest(provider=GROQ)),
    *(CreateFileRequest(purpose=""), CreateFileRequest(filename=""), CreateFileRequest(content_type="")),
    CreateFileRequest(expires_after=FileExpiresAfter()),
    Request(additional_fields=[AdditionalField(path=["a"])]),
]
"""Each thing that a message may say beside its body; absence is something else than emptiness."""


def test_all_that_may_be_said() -> None:
    """No field beside the body is forgotten here."""
    said = {field for request in SAID for field, _ in request.ListFields()}
    assert {field.name for field in said} == {
        field.name for kind in (Request, CreateFileRequest) for field in kind.DESCRIPTOR.fields if field.name != "body"
    }


@pytest.mark.parametrize("said", SAID)
def test_only_the_first_message_says_what_the_file_is(said: Request | CreateFileRequest) -> None:
    """A later one that says anything else is refused by its name, and one that says the same again is taken."""
    kind, name, later = type(said), said.ListFields()[0][0].name, deepcopy(said)
    later.body.data = b"lo"

    async def read(first: Request | CreateFileRequest) -> bytes:
        async def rest() -> AsyncIterator[Request | CreateFileRequest]:
            yield later

        first.body.data = b"hel"
        return b"".join([piece async for piece in bodies_of(first, rest())])  # type: ignore[type-var] # both are of one kind

    assert asyncio.run(read(kind.FromString(later.SerializeToString()))) == b"hello"
    with pytest.raises(InvalidRequestError) as caught:
        asyncio.run(read(kind()))
    assert (caught.value.param, caught.value.code) == (name, "invalid_value")


@settings(deadline=None)
@given(st.sampled_from([FORM, JSON, "", "text/plain"]) | st.text(), st.lists(st.binary(max_size=50), max_size=5))
def test_random_bodies_are_taken_or_refused(content_type: str, bodies: list[bytes]) -> None:
    """No body of whatever type raises anything but InvalidRequestError."""
    try:
        take(*[body(data, content_type) for data in bodies])
    except InvalidRequestError:
        return
