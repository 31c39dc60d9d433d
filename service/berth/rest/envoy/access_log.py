"""Envoy's access log: one line of JSON per request."""

from typing import Any

from berth.rest.envoy.edge import EdgeSettings
from berth.rest.envoy.filters import typed

Json = dict[str, Any]

MAX_LOGGED = 256
"""How many characters of a caller's text are written to the access log."""
_MILLION = 1_000_000
_TRACE_ID = (
    "%CEL('traceparent' in request.headers && request.headers['traceparent'].size() == 55 ? "
    "request.headers['traceparent'].split('-')[1] : "
    "request.headers['x-request-id'].replace('-', '').size() == 32 ? "
    "request.headers['x-request-id'].replace('-', '') : '')%"
)
"""The trace of the caller, or else what the service makes of the id of a request. It hashes other ids: Envoy cannot."""
_EXPRESSIONS = {
    "name": "envoy.formatter.cel",
    "typed_config": typed("envoy.extensions.formatter.cel.v3.Cel", cel_config={"enable_string_functions": True}),
}
SAMPLED_PERCENT = 5
"""How many of the requests that are refused with 401 or 429, or given up at once, are logged."""
GIVEN_UP_AT_ONCE_MILLISECONDS = 1000
"""A request that its client gives up earlier, before there is a status, counts as given up at once."""


def access_log(settings: EdgeSettings) -> list[Json]:
    """Return a log of one JSON line per request, without its query and without any header that could be a key.

    Of requests that are refused with 401 or 429, or given up at once, which strangers can send in floods, one in twenty
    is logged: the service also logs them, with a limit of its own.
    """
    if settings.access_log_path is None:
        return []
    line = {
        "time": "%START_TIME%",
        "event": "request.proxied",
        "method": f"%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD):{MAX_LOGGED}%",
        "path": f"%PATH(NQ:ORIG_OR_PATH):{MAX_LOGGED}%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "request_id": f"%RESP(X-REQUEST-ID):{MAX_LOGGED}%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
        "trace_id": "%TRACE_ID%" if settings.tracing else _TRACE_ID,
    }
    log_format = {"json_format": line, **({} if settings.tracing else {"formatters": [_EXPRESSIONS]})}
    if settings.access_log_path == "/dev/stderr":
        # Not by its path: opening a socket again fails, and opening a file again overwrites the service's log in it.
        config = typed("envoy.extensions.access_loggers.stream.v3.StderrAccessLog", log_format=log_format)
        return [{"name": "envoy.access_loggers.stderr", "filter": _sampled(settings), "typed_config": config}]
    name = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    config = typed(name, path=settings.access_log_path, log_format=log_format)
    return [{"name": "envoy.access_loggers.file", "filter": _sampled(settings), "typed_config": config}]


def _sampled(settings: EdgeSettings) -> Json:
    """Return the filter that lets through all statuses but 401 and 429, and a part of these; no health checks.

    Of successes it lets through the part that the service logs as well, and of requests that were given up at once,
    which have no status, as many as of those with 401.
    """
    if settings.logs_failures_only:
        return {"and_filter": {"filters": [_no_health_check(), _status("GE", 500)]}}
    between = {"and_filter": {"filters": [_status("GE", 402), _status("LE", 428)]}}
    share = {"numerator": SAMPLED_PERCENT}
    refusals = {"runtime_filter": {"runtime_key": "berth.logged_refusals", "percent_sampled": share}}
    sampled = {
        "or_filter": {"filters": [_given_up_late(), _successes(settings), between, _status("GE", 430), refusals]}
    }
    return {"and_filter": {"filters": [_no_health_check(), sampled]}}


def _given_up_late() -> Json:
    """Return the filter that lets through what has no status because the client gave up after a while."""
    late = {"duration_filter": {"comparison": _comparison("GE", GIVEN_UP_AT_ONCE_MILLISECONDS)}}
    return {"and_filter": {"filters": [_status("EQ", 0), late]}}


def _successes(settings: EdgeSettings) -> Json:
    """Return the filter that lets through the statuses up to 400, all or a part of those below."""
    if settings.logged_successes >= 1.0:
        return {"and_filter": {"filters": [_status("GE", 100), _status("LE", 400)]}}
    share = {"numerator": round(settings.logged_successes * _MILLION), "denominator": "MILLION"}
    part = {"runtime_filter": {"runtime_key": "berth.logged_successes", "percent_sampled": share}}
    below = {"and_filter": {"filters": [_status("GE", 100), _status("LE", 399), part]}}
    return {"or_filter": {"filters": [_status("EQ", 400), below]}}


def _no_health_check() -> Json:
    """Return the filter that lets through what does not ask for the health, which balancers do all the time."""
    path = {
        "name": "x-envoy-original-path",
        "string_match": {"safe_regex": {"regex": r"/(healthz|readyz)(\?.*)?"}},
        "invert_match": True,
        "treat_missing_header_as_empty": True,
    }
    return {"header_filter": {"header": path}}


def _status(operator: str, status: int) -> Json:
    return {"status_code_filter": {"comparison": _comparison(operator, status)}}


def _comparison(operator: str, value: int) -> Json:
    return {"op": operator, "value": {"default_value": value, "runtime_key": "berth.no_such_key"}}
