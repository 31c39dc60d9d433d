"""Give Envoy's own error responses the envelope of Berth's errors.

Only Envoy sees requests with bad JSON, an unknown path, or a service that is down, but its response
must have our format. The format is given here; `answers.lua` fills in the parameter, the code and a
plainer text, except where Envoy is overloaded and runs no filters.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

Json = dict[str, Any]

# Exactly the types that the transcoder passes on, and those of gRPC-Web. A looser match would let an invented type skip
# the limits for REST and still be transcoded.
GRPC_CONTENT_TYPES = r"application/grpc(\+.*|-web(-text)?(\+proto)?)?"

_SERVER_ERRORS = 500
_CLIENT_ERRORS = 400
_NOT_FOUND = 404
_METHOD_NOT_ALLOWED = 405
_TOO_LARGE = 413
_UNAVAILABLE = 503
_MILLION = 1_000_000
_RETRY_SECONDS = (1, 2, 3)
"""When callers shall come back: not all at once, which would be too many again."""
SEGMENT = "[^/?]+"
"""A regular expression for an id in a path."""


def local_reply_config(methods: Mapping[str, Collection[str]]) -> Json:
    """Return the format of Envoy's own errors: plain text for gRPC callers, the envelope for all others.

    `methods` are those of each path template; another method on that path is a 405.
    """
    grpc, failed = _grpc(), _rest(_SERVER_ERRORS, error_type="api_error")
    return {
        "mappers": [
            *_unavailable(grpc),
            grpc,
            *(_wrong_method(template, allowed) for template, allowed in methods.items()),
            _too_large(),
            _unknown_outcome(),
            *_unavailable(_overloaded()),
            *_unavailable(failed),
            failed,
            _rest(_CLIENT_ERRORS, error_type="invalid_request_error"),
        ]
    }


def _grpc() -> Json:
    """Keep the plain text for gRPC callers, who get it as the message of the status.

    A REST request looks like gRPC once it is transcoded, but it has an original path.
    """
    grpc = _header("content-type", {"string_match": {"safe_regex": {"regex": GRPC_CONTENT_TYPES}}})
    transcoded = _header("x-envoy-original-path", {"present_match": True, "invert_match": True})
    return {
        "filter": {"and_filter": {"filters": [grpc, transcoded]}},
        "body_format_override": {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}},
    }


def _header(name: str, match: Json) -> Json:
    return {"header_filter": {"header": {"name": name, **match}}}


def _wrong_method(template: str, allowed: Collection[str]) -> Json:
    """Turn the transcoder's 404 into a 405 if the path is known but does not have the method."""
    reply = _rest(_NOT_FOUND, error_type="invalid_request_error", operator="EQ")
    segments = [SEGMENT if segment.startswith("{") else re.escape(segment) for segment in template.split("/")]
    path = _header(":path", {"string_match": {"safe_regex": {"regex": rf"{'/'.join(segments)}(\?.*)?"}}})
    allow = {"key": "allow", "value": ", ".join(sorted(allowed))}
    headers = [*reply["headers_to_add"], {"header": allow, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}]
    filters = {"and_filter": {"filters": [reply["filter"], path]}}
    return {**reply, "filter": filters, "headers_to_add": headers, "status_code": _METHOD_NOT_ALLOWED}


def _too_large() -> Json:
    """Turn Envoy's 413 into a 400, which is what the service returns for a file that is too large."""
    reply = _rest(_TOO_LARGE, error_type="invalid_request_error", operator="EQ")
    return {**reply, "status_code": _CLIENT_ERRORS}


def _unknown_outcome() -> Json:
    """Ask SDKs, which repeat a 503, not to repeat a POST that the service may have executed before it was lost.

    With an idempotency key they may. Envoy's flag UC means that the connection ended after the request was sent.
    """
    reply = _rest(_UNAVAILABLE, error_type="api_error", operator="EQ")
    post = _header("x-envoy-original-method", {"string_match": {"exact": "POST"}})
    without_key = _header("idempotency-key", {"present_match": True, "invert_match": True})
    filters = [reply["filter"], {"response_flag_filter": {"flags": ["UC"]}}, post, without_key]
    final = {"header": {"key": "x-should-retry", "value": "false"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    return {
        **reply,
        "filter": {"and_filter": {"filters": filters}},
        "headers_to_add": [*reply["headers_to_add"], final],
    }


def _overloaded() -> Json:
    """Say that the service is busy if Envoy's heap is full: it then answers before any filter runs."""
    expression = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
        "expression": "response.code_details == 'overload'",
    }
    envelope = _envelope("api_error", failed=True)
    envelope["error"] |= {"message": "The service is busy.", "code": "service_unavailable"}
    return {
        **_rest(_UNAVAILABLE, error_type="api_error"),
        "filter": {
            "extension_filter": {"name": "envoy.access_loggers.extension_filters.cel", "typed_config": expression}
        },
        "body_format_override": {"json_format": envelope},
    }


def _unavailable(reply: Json) -> Iterator[Json]:
    """Yield the reply for Envoy's 503, once with each time to come back, of which Envoy takes one by chance."""
    for left, seconds in zip(range(len(_RETRY_SECONDS), 0, -1), _RETRY_SECONDS, strict=True):
        sampled = {"numerator": _MILLION // left, "denominator": "MILLION"}
        chance = {"runtime_key": "berth.retry_after", "percent_sampled": sampled, "use_independent_randomness": True}
        filters = [reply["filter"], _status(_UNAVAILABLE, operator="EQ"), {"runtime_filter": chance}]
        retry = {"header": {"key": "retry-after", "value": str(seconds)}, "append_action": "ADD_IF_ABSENT"}
        yield {
            **reply,
            "filter": {"and_filter": {"filters": filters}},
            "headers_to_add": [*reply.get("headers_to_add", ()), retry],
        }


def _status(status: int, *, operator: str) -> Json:
    comparison = {"op": operator, "value": {"default_value": status, "runtime_key": "berth.local_reply"}}
    return {"status_code_filter": {"comparison": comparison}}


def _rest(status: int, *, error_type: str, operator: str = "GE") -> Json:
    # Envoy sets the request id only after it has read the headers. If these are invalid, the response gets an id here.
    request_id = {"key": "x-request-id", "value": "%UNIQUE_ID%"}
    return {
        "filter": _status(status, operator=operator),
        "headers_to_add": [{"header": request_id, "append_action": "ADD_IF_ABSENT"}],
        "body_format_override": {"json_format": _envelope(error_type, failed=status >= _SERVER_ERRORS)},
    }


def _envelope(error_type: str, *, failed: bool) -> Json:
    """Return the envelope; a lone command such as %RESPONSE_CODE% becomes a JSON number."""
    return {
        "error": {"message": "%LOCAL_REPLY_BODY%", "type": error_type, "param": None, "code": None},
        "is_bifrost_error": failed,
        "status_code": "%RESPONSE_CODE%",
        "extra_fields": {},
    }
