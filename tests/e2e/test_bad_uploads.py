"""Bad uploads and downloads through Envoy: status, envelope, the parameter's name, and no file left behind."""

import gzip
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from support.clients.envelope import expect
from support.servers.berth import KEY_A, MAX_FILE_BYTES, Berth
from support.servers.chain import everywhere

pytestmark = everywhere

BOUNDARY = "XBOUNDARYX"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes | str, filename: str | None = None, extra: str = "") -> bytes:
    """Return one part of a form."""
    told = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n{extra}\r\n'
    return head.encode() + (content.encode() if isinstance(content, str) else content) + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


@dataclass(frozen=True)
class BadUpload:
    """A body of an upload, and the parameter and code that its refusal names."""

    content: bytes
    param: str
    code: str
    content_type: str = FORM
    query: str = ""


BAD_UPLOADS = {
    "form without a file": BadUpload(part("file_path", "x.txt") + END, "file", "missing_required_parameter"),
    "form of nothing": BadUpload(END, "file", "missing_required_parameter"),
    "two files": BadUpload(part("file", "a", "a") + part("file", "b", "b") + END, "file", "duplicate_parameter"),
    "a file_id before the file": BadUpload(
        part("file_id", "file-1") + part("file", "a", "a") + END, "file_id", "mutually_exclusive_parameters"
    ),
    "a file_id behind the file": BadUpload(
        part("file", "a", "a") + part("file_id", "file-1") + END, "file_id", "mutually_exclusive_parameters"
    ),
    "an unknown field": BadUpload(part("colour", "red") + part("file", "a", "a") + END, "colour", "unknown_parameter"),
    "no boundary": BadUpload(part("file", "a", "a") + END, "body", "invalid_value", "multipart/form-data"),
    "another boundary": BadUpload(
        part("file", "a", "a") + END, "body", "invalid_value", "multipart/form-data; boundary=other"
    ),
    "a form cut off in the file": BadUpload(part("file", "a" * 300_000, "a")[:-50], "body", "invalid_value"),
    "a form cut off at the end": BadUpload(part("file", "a", "a"), "body", "invalid_value"),
    "a part without a name": BadUpload(
        f"--{BOUNDARY}\r\nContent-Disposition: form-data\r\n\r\nx\r\n".encode() + END, "body", "invalid_value"
    ),
    "a long field": BadUpload(
        part("file_path", "x" * 5000) + part("file", "a", "a") + END, "file_path", "string_above_max_length"
    ),
    "a name of 300 characters": BadUpload(part("file", "a", "x" * 300) + END, "filename", "string_above_max_length"),
    "a name with a newline": BadUpload(part("file", "a", "a%0Ab") + END, "filename", "invalid_value"),
    "a type that is none": BadUpload(
        part("file", "a", "a", "Content-Type: nonsense\r\n") + END, "content_type", "invalid_value"
    ),
    "a path out of the data": BadUpload(
        part("file", "a", "a") + part("file_path", "/etc/x") + END, "file_path", "invalid_value"
    ),
    "a path that climbs": BadUpload(
        part("file_path", "a/../../b") + part("file", "a", "a") + END, "file_path", "invalid_value"
    ),
    "a path of a folder": BadUpload(
        part("file_path", "/mnt/data/") + part("file", "a", "a") + END, "file_path", "invalid_value"
    ),
    "JSON of nothing": BadUpload(b"{}", "file", "missing_required_parameter", "application/json"),
    "a JSON list": BadUpload(b"[]", "body", "invalid_type", "application/json"),
    "broken JSON": BadUpload(b"{", "body", "invalid_json", "application/json"),
    "a JSON number": BadUpload(b'{"file_id": 5}', "file_id", "invalid_type", "application/json"),
    "an unknown file": BadUpload(b'{"file_id": "file-x"}', "file_id", "invalid_value", "application/json"),
    "nothing": BadUpload(b"", "file", "missing_required_parameter", ""),
    "bytes and a file_id": BadUpload(b"a", "file_id", "mutually_exclusive_parameters", "text/plain", "?file_id=file-1"),
    "bytes under a bad path": BadUpload(b"a", "file_path", "invalid_value", "text/plain", "?file_path=../x"),
    "one byte too many": BadUpload(
        b"x" * (MAX_FILE_BYTES + 1), "file", "file_too_large", "application/octet-stream", "?filename=x"
    ),
}


@pytest.mark.parametrize("case", BAD_UPLOADS)
def test_upload(client: httpx2.Client, container: str, case: str) -> None:
    """An upload that cannot be is a 400 that names its parameter, and leaves no file."""
    bad = BAD_UPLOADS[case]
    headers = {"content-type": bad.content_type} if bad.content_type else {}
    path = f"/v1/containers/{container}/files"
    expect(client.post(path + bad.query, content=bad.content, headers=headers), 400, bad.param, bad.code)
    assert client.get(path).json()["data"] == []


GOOD_UPLOADS = {
    "an empty file": (part("file", "", "empty.txt"), "empty.txt"),
    "a name with a path": (part("file", "a", "C:\\\\dir\\\\sub/name.txt"), "name.txt"),
    "a name with quotes": (part("file", "a", "say %22hi%22.txt"), 'say "hi".txt'),
    "a name in Japanese": (part("file", "a", "報告書.txt"), "報告書.txt"),
    "a name of 222 bytes": (part("file", "a", "x" * 222), "x" * 222),
    "no name": (part("file", "a"), "file"),
}


@pytest.mark.parametrize("case", GOOD_UPLOADS)
def test_odd_names(client: httpx2.Client, container: str, case: str) -> None:
    """An unusual name is kept, without the folders before it."""
    content, name = GOOD_UPLOADS[case]
    path = f"/v1/containers/{container}/files"
    file = client.post(path, content=content + END, headers={"content-type": FORM}).json()
    assert file["path"].removeprefix("/mnt/data/")[33:] == name
    downloaded = client.get(f"{path}/{file['id']}/content")
    assert (downloaded.status_code, len(downloaded.content)) == (200, file["bytes"])


def test_the_largest_file(client: httpx2.Client, container: str) -> None:
    """A file of exactly the limit is stored."""
    path = f"/v1/containers/{container}/files?filename=x"
    assert client.post(path, content=b"x" * MAX_FILE_BYTES).json()["bytes"] == 70_000_000


@pytest.mark.parametrize("in_form", [False, True])
def test_what_a_query_says_of_a_large_file(client: httpx2.Client, container: str, in_form: bool) -> None:  # noqa: FBT001 - a parameter
    """A body that Envoy passes on in many messages is stored as the path and the query say, in a form or alone."""
    content = bytes(range(256)) * 8_192
    body: dict[str, Any] = {"files": {"file": ("large.bin", content)}} if in_form else {"content": content}
    name = {} if in_form else {"filename": "large.bin"}
    path = f"/v1/containers/{container}/files"
    inside = client.post(path, params={"file_path": "x/y.bin", "provider": "ollama", **name}, **body).json()
    assert (inside["path"], inside["bytes"]) == ("/mnt/data/x/y.bin", 2_097_152)
    assert client.get(f"{path}/{inside['id']}/content").content == content
    expiry = {"expires_after.anchor": "created_at", "expires_after.seconds": "3600"}
    outside = client.post("/v1/files", params={"purpose": "batch", "provider": "ollama", **expiry, **name}, **body)
    file = outside.json()
    assert (file["filename"], file["purpose"], file["bytes"]) == ("large.bin", "batch", 2_097_152)
    assert file["expires_at"] == file["created_at"] + 3_600
    assert client.get(f"/v1/files/{file['id']}/content").content == content


@pytest.mark.parametrize("where", ["/v1/files?purpose=batch", "/v1/containers/{container}/files"])
def test_a_compressed_body(client: httpx2.Client, container: str, where: str) -> None:
    """A body that is compressed on its way is refused: its file would not be the one that was meant."""
    path = where.format(container=container)
    before = client.get(path).json()["data"]
    headers = {"content-encoding": "gzip", "content-type": "text/plain"}
    expect(client.post(path, content=gzip.compress(b"text"), headers=headers), 400, "Content-Encoding", "invalid_value")
    assert client.get(path).json()["data"] == before


def test_path_taken(client: httpx2.Client, container: str) -> None:
    """A second file at the same path is refused, and the first is untouched."""
    path = f"/v1/containers/{container}/files"
    first = client.post(f"{path}?file_path=a/b.txt", content=b"first").json()
    expect(client.post(f"{path}?file_path=/mnt/data/a//b.txt", content=b"second"), 400, "file_path")
    assert [item["id"] for item in client.get(path).json()["data"]] == [first["id"]]
    assert client.get(f"{path}/{first['id']}/content").content == b"first"


def test_ranges(client: httpx2.Client, container: str) -> None:
    """A range within the file is returned; an offset behind its end is a 400 that names it."""
    path = f"/v1/containers/{container}/files"
    file = client.post(f"{path}?filename=x", content=b"0123456789").json()["id"]
    content = f"{path}/{file}/content"
    for query, expected in {
        "offset=3": b"3456789",
        "length=4": b"0123",
        "offset=3&length=4": b"3456",
        "offset=8&length=400": b"89",
        "offset=10": b"",
        "length=0": b"",
    }.items():
        assert client.get(f"{content}?{query}").content == expected
    expect(client.get(f"{content}?offset=11"), 400, "offset", "integer_above_max_value")
    expect(client.get(f"{content}?offset=-1"), 400, "offset")
    expect(client.get(f"{content}?length=x"), 400, "length")


def test_body_cut_off(berth: Berth, client: httpx2.Client, container: str) -> None:
    """A client that goes away in the middle of its body leaves no file."""
    path = f"/v1/containers/{container}/files"
    where = urlsplit(berth.rest)
    with socket.create_connection((where.hostname or "", where.port or 0)) as connection:
        lines = (
            f"POST {path}?filename=x HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {KEY_A}",
            "Content-Length: 1000000",
        )
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + b"x" * 500_000)
    assert client.get(path).json()["data"] == []
