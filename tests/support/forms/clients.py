"""Forms as clients send them: real ones where the client is at hand, else the shape of what it sends."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import NamedTuple

import httpx2
from openai import APIError, OpenAI

BOUNDARY = "edge"
CONTENT = b"a,b\r\n1,2\r\n\r\n--edg\n\0\xff"


class Sent(NamedTuple):
    """A body of an upload, its content type, and whether it is one of `/v1/files` or of a container's files."""

    body: bytes
    content_type: str
    is_outside: bool = False


@cache
def client_forms() -> tuple[Sent, ...]:
    """Return a form of each client, for both kinds of uploads."""
    return (
        *(_of_openai(upload) for upload in (_openai_file, _openai_both, _openai_outside)),
        *(_of_httpx(is_outside=is_outside) for is_outside in (False, True)),
        *(_shaped(shape, is_outside=is_outside) for shape in _SHAPES for is_outside in (False, True)),
        Sent(b'--edge\r\nContent-Disposition: form-data; name="file_id"\r\n\r\nfile-1\r\n--edge--\r\n', _GO),
    )


_GO = "multipart/form-data; boundary=edge"

_SHAPES = {
    "Go": (
        _GO,
        b'Content-Disposition: form-data; name="file"; filename="anonymous_file"\r\nContent-Type: text/plain',
    ),
    "curl": (
        "multipart/form-data; boundary=------------------------edge",
        b'Content-Disposition: form-data; name="file"; filename="hello.txt"\r\nContent-Type: text/plain',
    ),
    "browser": (
        "multipart/form-data; boundary=----WebKitFormBoundaryedge",
        'Content-Disposition: form-data; name="file"; filename="say %22日本%22.txt"\r\nContent-Type: text/csv'.encode(),
    ),
    ".NET": (
        'multipart/form-data; boundary="edge"',
        b"Content-Disposition: form-data; name=file; filename=\"=?utf-8?B?w7wudHh0?=\"; filename*=utf-8''%C3%BC.txt",
    ),
    "Java": (
        "multipart/form-data; charset=UTF-8; boundary=edge",
        b'Content-Disposition: form-data; name="file"; filename="a"\r\nContent-Transfer-Encoding: binary',
    ),
}


def _shaped(shape: str, *, is_outside: bool) -> Sent:
    content_type, headers = _SHAPES[shape]
    delimiter = b"--" + content_type.rpartition("boundary=")[2].strip('"').encode()
    field, value = _field(is_outside=is_outside)
    told = f'Content-Disposition: form-data; name="{field}"'.encode()
    parts = ((told, value.encode()), (headers, CONTENT))
    body = b"".join(b"%b\r\n%b\r\n\r\n%b\r\n" % (delimiter, head, content) for head, content in parts)
    return Sent(body + delimiter + b"--\r\n", content_type, is_outside)


def _field(*, is_outside: bool) -> tuple[str, str]:
    return ("purpose", "batch") if is_outside else ("file_path", "dir/a.csv")


def _of_httpx(*, is_outside: bool) -> Sent:
    name, value = _field(is_outside=is_outside)
    files = {"file": ("日本.csv", CONTENT, "text/csv")}
    return _sent(httpx2.Request("POST", "http://x/files", data={name: value}, files=files), is_outside=is_outside)


def _openai_file(client: OpenAI) -> object:
    return client.containers.files.create("cntr_1", file=("日本.csv", CONTENT, "text/csv"))


def _openai_both(client: OpenAI) -> object:
    return client.containers.files.create("cntr_1", file=CONTENT, file_id="file-1")


def _openai_outside(client: OpenAI) -> object:
    expiry = {"anchor": "created_at", "seconds": 3600}
    return client.files.create(file=("a.jsonl", CONTENT), purpose="batch", expires_after=expiry)  # type: ignore[arg-type] # as in the SDK's documentation


def _of_openai(upload: Callable[[OpenAI], object]) -> Sent:
    """Return what the SDK sends for `upload`."""
    requests = []

    def refuse(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(400, json={})

    with httpx2.Client(transport=httpx2.MockTransport(refuse)) as http, suppress(APIError):
        upload(OpenAI(base_url="http://x", api_key="x", http_client=http))
    return _sent(requests[0], is_outside=upload is _openai_outside)


def _sent(request: httpx2.Request, *, is_outside: bool) -> Sent:
    """Return what `request` sends, with a boundary that is not random."""
    content_type = request.headers["content-type"]
    random = content_type.rpartition("boundary=")[2]
    body = request.read().replace(random.encode(), BOUNDARY.encode())
    return Sent(body, content_type.replace(random, BOUNDARY), is_outside)
