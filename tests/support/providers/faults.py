"""What a provider can do wrong, and what a caller must get for it: a table.

`GET` and `DELETE` may be tried again, at most twice; a create only when it was
certainly not made. So no row makes two containers.
"""

import json
from dataclasses import dataclass, replace
from typing import NamedTuple

from support.providers.raw import Behaviour, answer, cut, drip, flood, hang, head, reset, stream

PATIENCE_SECONDS = 5.0
"""For a call with all its tries and the waits between them."""
HURRY_SECONDS = 1.0
"""For a call that nothing comes of."""

CONTAINER = {
    "id": "cntr_1",
    "object": "container",
    "name": "box",
    "created_at": 1_700_000_000,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": 1_700_000_000,
}
DELETED = {"id": "cntr_1", "object": "container.deleted", "deleted": True}
GOOD = answer(200, CONTAINER | DELETED | {"object": "container"})
"""Answers each of the three calls well."""

TEXT = json.dumps(CONTAINER).encode()
TOO_MANY = {"error": {"message": "Slow down.", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
WRONG_KEY = {
    "error": {
        "message": "Incorrect API key provided: sk-upstream.",
        "type": "invalid_request_error",
        "param": None,
        "code": "invalid_api_key",
    }
}
BROKEN = {"error": {"message": "The server had an error.", "type": "server_error", "param": None, "code": None}}
BAD_NAME = {
    "message": "Invalid 'name'.",
    "type": "invalid_request_error",
    "param": "name",
    "code": "string_too_strange",
}
BAD_GATEWAY = b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"


class Outcome(NamedTuple):
    """How many calls the provider gets, and the status and code that the caller gets."""

    calls: int
    status: int
    code: str | None


LOST = "provider_connection_failed"
FAILED = "provider_server_error"
LATE = "request_timed_out"


@dataclass(frozen=True)
class Fault:
    """What the provider does, call after call; what comes of it; and how many seconds the call has, in all."""

    script: tuple[Behaviour, ...]
    get: Outcome
    delete: Outcome
    create: Outcome
    timeout_seconds: float = PATIENCE_SECONDS


def tried_again(script: tuple[Behaviour, ...], status: int, code: str | None) -> Fault:
    """Return a fault that is met by trying again, but not to create."""
    often = Outcome(3, status, code)
    return Fault(script, often, often, Outcome(1, status, code))


def final(script: tuple[Behaviour, ...], status: int, code: str | None) -> Fault:
    """Return a fault that no second try can mend."""
    once = Outcome(1, status, code)
    return Fault(script, once, once, once)


def late(*script: Behaviour) -> Fault:
    """Return a fault that ends when the time is up: none is left for a second try."""
    return replace(final(script, 504, LATE), timeout_seconds=HURRY_SECONDS)


def meagre(behaviour: Behaviour) -> Fault:
    """Return a fault of an answer that is too little for a container, and enough to know that one was deleted."""
    failed = Outcome(1, 503, FAILED)
    return Fault((behaviour,), failed, Outcome(1, 200, None), failed)


FAULTS = {
    "reset before headers": tried_again((reset(),), 503, LOST),
    "closed before headers": tried_again((cut(),), 503, LOST),
    "reset in the middle of headers": tried_again((reset(head(200)[:30]),), 503, LOST),
    "reset in the middle of the body": tried_again((reset(head(200, content_length="999") + TEXT),), 503, LOST),
    "more bytes promised than come": tried_again((cut(head(200, content_length="999") + TEXT),), 503, LOST),
    "fewer bytes promised than come": final((cut(head(200, content_length="40") + TEXT),), 503, FAILED),
    "not HTTP": final((cut(b"SSH-2.0-OpenSSH_9.2\r\n"),), 503, FAILED),
    "hang before headers": late(hang()),
    "hang in the middle of headers": late(hang(head(200)[:30])),
    "hang in the body": late(hang(head(200, content_length="999") + TEXT)),
    "one byte at a time": late(drip(head(200, content_length="999") + TEXT, at_once=100, seconds=0.1)),
    "one byte at a time from the start": late(drip(head(200), at_once=0, seconds=0.1)),
    "10 GB promised": final((flood(head(200, content_length="10000000000") + b"{"),), 503, FAILED),
    "no end promised": final((flood(head(200, connection="close") + b"{"),), 503, FAILED),
    "429": tried_again((answer(429, TOO_MANY),), 429, "rate_limit_exceeded"),
    "429 for a minute": final((answer(429, TOO_MANY, retry_after="60"),), 429, "rate_limit_exceeded"),
    "429 of a proxy": tried_again((answer(429, b"slow down", content_type="text/plain"),), 429, "rate_limited"),
    "500": tried_again((answer(500, BROKEN),), 503, FAILED),
    "503 then 200": Fault(
        (answer(503, BROKEN), GOOD), Outcome(2, 200, None), Outcome(2, 200, None), Outcome(1, 503, FAILED)
    ),
    "reset then 200": Fault((reset(), GOOD), Outcome(2, 200, None), Outcome(2, 200, None), Outcome(1, 503, LOST)),
    "401": final((answer(401, WRONG_KEY),), 503, "upstream_credentials_exhausted"),
    "403": final((answer(403, WRONG_KEY),), 503, "upstream_credentials_exhausted"),
    "404": final((answer(404, {"error": {"message": "Container not found.", "type": "x"}}),), 404, None),
    "404 of a proxy": final((answer(404, BAD_GATEWAY, content_type="text/html"),), 404, None),
    "400": final((answer(400, {"error": BAD_NAME}),), 400, "string_too_strange"),
    "400 without a code": final((answer(400, {"error": BAD_NAME | {"code": None}}),), 400, None),
    "400 of HTML": final((answer(400, BAD_GATEWAY, content_type="text/html"),), 400, "invalid_value"),
    "409": final((answer(409, {"error": BAD_NAME | {"code": "busy"}}),), 409, "busy"),
    "418": final((answer(418, {"error": BAD_NAME | {"code": "teapot"}}),), 400, "teapot"),
    "HTML": final((answer(200, BAD_GATEWAY, content_type="text/html"),), 503, FAILED),
    "502 of HTML": tried_again((answer(502, BAD_GATEWAY, content_type="text/html"),), 503, FAILED),
    "truncated JSON": final((answer(200, TEXT[:40]),), 503, FAILED),
    "not UTF-8": final((answer(200, b'{"id": "\xff"}'),), 503, FAILED),
    "empty": meagre(answer(200, b"")),
    "204": meagre(stream(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "null": meagre(answer(200, None)),
    "a list": meagre(answer(200, [CONTAINER])),
    "JSON of another shape": meagre(answer(200, {"hello": "world"})),
    "an id that is none": meagre(answer(200, CONTAINER | {"id": 5, "deleted": "?"})),
    "an error inside a 200": final((answer(200, BROKEN),), 503, FAILED),
    "a deletion that is none": final((answer(200, DELETED | {"deleted": False}),), 503, FAILED),
    "a redirect": final((answer(307, b"", location="/v1/elsewhere"),), 503, FAILED),
    "a redirect away": final((answer(302, b"", location="http://127.0.0.1:9/v1"),), 503, FAILED),
    "a body deep as the sea": final((answer(200, b"[" * 100_000),), 503, FAILED),
}
