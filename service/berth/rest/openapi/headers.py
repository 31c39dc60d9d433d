"""The headers of requests and responses, and the ways to authenticate."""

from email.utils import formatdate
from hashlib import sha256
from typing import Any

from berth.core.caller import MAX_IDEMPOTENCY_KEY_LENGTH, MAX_OPTION_LENGTH
from berth.core.operations import Kind
from berth.rest.openapi.examples import CREATED_AT, PROVIDER, REQUEST_ID
from berth.rest.openapi.values import CONTENT, PART

Json = dict[str, Any]

_SHORT = {"type": "string", "maxLength": MAX_OPTION_LENGTH}
_FLAG = {"type": "string", "enum": ["true", "false"]}
_COUNT = {"type": "integer", "minimum": 0}
_SHA256 = sha256(CONTENT.encode()).hexdigest()
_ETAG = f'"{_SHA256}"'
_DATE = formatdate(CREATED_AT, usegmt=True)

SECURITY_SCHEMES: Json = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A virtual key (`sk-bf-…`), or a provider's own key where the service accepts those.",
    },
    "basic": {"type": "http", "scheme": "basic", "description": "A user and a password of the configuration."},
    **{
        name: {"type": "apiKey", "in": "header", "name": name, "description": "The same keys as in `bearer`."}
        for name in ("x-bf-vk", "x-api-key", "x-goog-api-key", "api-key")
    },
    "certificate": {
        "type": "mutualTLS",
        "description": "A client certificate that the configuration maps to a tenant.",
    },
}
SECURITY: list[Json] = [{name: []} for name in SECURITY_SCHEMES]

REQUEST_HEADERS: dict[str, Json] = {
    "x-request-id": {
        "schema": {"type": "string"},
        "description": "The id of the request, which is returned and logged: at most 128 printable ASCII characters. "
        "One is made if it is absent or something else.",
        "example": REQUEST_ID,
    },
    "OpenAI-Organization": {
        "schema": _SHORT,
        "description": "Sent to the provider of a passthrough container.",
        "example": "org-example",
    },
    "OpenAI-Project": {
        "schema": _SHORT,
        "description": "Sent to the provider of a passthrough container.",
        "example": "proj_example",
    },
    "x-bf-send-back-raw-request": {
        "schema": _FLAG,
        "description": "Whether `extra_fields.raw_request` has the request to the provider, without secrets.",
        "example": "true",
    },
    "x-bf-send-back-raw-response": {
        "schema": _FLAG,
        "description": "Whether `extra_fields.raw_response` has the provider's response, without secrets.",
        "example": "true",
    },
    "Idempotency-Key": {
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_IDEMPOTENCY_KEY_LENGTH, "pattern": "^[ -~]+$"},
        "description": "Executes the request only once, even if it is sent several times with the same key.",
        "example": "8e03978e-40d5-43e8-bc93-6894a57f9324",
    },
    "x-bf-cache-key": {
        "schema": _SHORT,
        "description": "Answers from the cache, which callers of a tenant share who send the same key.",
        "example": "dashboard",
    },
    "x-bf-cache-ttl": {
        "schema": {"type": "string", "pattern": "^[0-9]{1,9}[smh]?$"},
        "description": "How long the answer is cached: seconds, or a number with `s`, `m` or `h`. At most a day.",
        "example": "5m",
    },
    "x-bf-cache-no-store": {
        "schema": _FLAG,
        "description": "Whether the answer is left out of the cache.",
        "example": "true",
    },
    "x-bf-cache-type": {
        "schema": {"type": "string", "enum": ["direct"]},
        "description": "Always `direct`: there is no semantic cache.",
        "example": "direct",
    },
    "Range": {
        "schema": {"type": "string"},
        "description": "The part of the file to return. The whole file is returned for several ranges.",
        "example": f"bytes=0-{len(PART) - 1}",
    },
    "If-Range": {
        "schema": {"type": "string"},
        "description": "An ETag or a date: the whole file is returned if it has changed.",
        "example": _ETAG,
    },
    "If-Match": {
        "schema": {"type": "string"},
        "description": "ETags of the file: 412 if it has none of them.",
        "example": _ETAG,
    },
    "If-None-Match": {
        "schema": {"type": "string"},
        "description": "ETags that the caller has: 304 if the file has one of them.",
        "example": _ETAG,
    },
    "If-Modified-Since": {
        "schema": {"type": "string"},
        "description": "A date: 304 if the file has not changed since.",
        "example": _DATE,
    },
}

_COMMON = ("x-request-id", "OpenAI-Organization", "OpenAI-Project")
_RAW = ("x-bf-send-back-raw-request", "x-bf-send-back-raw-response")
_CACHE = ("x-bf-cache-key", "x-bf-cache-ttl", "x-bf-cache-no-store", "x-bf-cache-type")
_CONDITIONS = ("Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since")
_CREATES = frozenset(
    {"CreateContainer", "CreateContainerFile", "CreateFile", "CreateContainerExec", "StreamContainerExec"}
)
_CACHED = frozenset({"RetrieveContainer", "RetrieveContainerFile"})
_DELETES_FILE = frozenset({"DeleteContainerFile", "DeleteFile"})


def request_headers(method: str, kind: Kind) -> list[str]:
    """Return the names of the headers that a method reads."""
    names = [*_COMMON, *(_CONDITIONS if kind == "content" else _RAW)]
    if method in _CREATES:
        names.append("Idempotency-Key")
    if method in _CACHED:
        names += _CACHE
    return [*names, "If-Match"] if method in _DELETES_FILE else names


RESPONSE_HEADERS: dict[str, Json] = {
    "x-request-id": {"schema": {"type": "string"}, "description": "The id of the request.", "example": REQUEST_ID},
    "x-bifrost-provider": {
        "schema": {"type": "string"},
        "description": "The provider, if it is known.",
        "example": PROVIDER,
    },
    "x-bifrost-request-type": {
        "schema": {"type": "string"},
        "description": "The operation.",
        "example": "container_retrieve",
    },
    "x-bifrost-upstream-latency-ms": {
        "schema": _COUNT,
        "description": "The time that the provider took, in milliseconds, if it was asked.",
        "example": 84,
    },
    "idempotent-replayed": {
        "schema": {"type": "string", "enum": ["true"]},
        "description": "Present if this repeats the answer to an earlier request with the same idempotency key.",
        "example": "true",
    },
    "x-ratelimit-limit-requests": {
        "schema": _COUNT,
        "description": "How many requests the key has per minute.",
        "example": 60,
    },
    "x-ratelimit-remaining-requests": {"schema": _COUNT, "description": "How many of them are left.", "example": 54},
    "x-ratelimit-reset-requests": {
        "schema": {"type": "string"},
        "description": "When all of them are available again, such as `6s`.",
        "example": "6s",
    },
    "x-budget-remaining-usd": {
        "schema": {"type": "string"},
        "description": "What is left of the key's budget, in US dollars.",
        "example": "41.93",
    },
    "retry-after": {"schema": _COUNT, "description": "After how many seconds a retry may succeed.", "example": 6},
    "x-should-retry": {
        "schema": {"type": "string", "enum": ["false"]},
        "description": "Present if clients should not repeat the request by themselves.",
        "example": "false",
    },
    "WWW-Authenticate": {
        "schema": {"type": "string"},
        "description": "How to authenticate.",
        "example": 'Bearer realm="berth"',
    },
    "Allow": {
        "schema": {"type": "string"},
        "description": "The methods that the path has.",
        "example": "GET, HEAD, DELETE",
    },
    "ETag": {"schema": {"type": "string"}, "description": "The SHA-256 of the whole file.", "example": _ETAG},
    "Last-Modified": {"schema": {"type": "string"}, "description": "When the file was created.", "example": _DATE},
    "Accept-Ranges": {"schema": {"type": "string"}, "description": "Always `bytes`.", "example": "bytes"},
    "Content-Range": {
        "schema": {"type": "string"},
        "description": "Which part of the file this is.",
        "example": f"bytes 0-{len(PART) - 1}/{len(CONTENT)}",
    },
    "Content-Disposition": {
        "schema": {"type": "string"},
        "description": "The name of the file, which browsers save and do not show.",
        "example": 'attachment; filename="hello.txt"',
    },
    "x-content-sha256": {
        "schema": {"type": "string"},
        "description": "The SHA-256 of the whole file.",
        "example": _SHA256,
    },
    "x-content-length": {"schema": _COUNT, "description": "The number of bytes that follow.", "example": len(CONTENT)},
    "x-content-type-options": {
        "schema": {"type": "string", "enum": ["nosniff"]},
        "description": "Present so that browsers keep to the media type.",
        "example": "nosniff",
    },
    "content-security-policy": {
        "schema": {"type": "string"},
        "description": "Nothing in the file can run or load anything if a browser shows it.",
        "example": "default-src 'none'; sandbox",
    },
}

OF_EVERY_ANSWER = (
    "x-request-id",
    "x-bifrost-provider",
    "x-bifrost-request-type",
    "x-bifrost-upstream-latency-ms",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-budget-remaining-usd",
)
OF_CONTENT = (
    "ETag",
    "Last-Modified",
    "Accept-Ranges",
    "Content-Disposition",
    "x-content-sha256",
    "x-content-length",
    "x-content-type-options",
    "content-security-policy",
)


def header_references(*names: str) -> Json:
    """Return references to response headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
