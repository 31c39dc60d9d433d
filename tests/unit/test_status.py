"""The error table: complete, as documented, and nothing of a bug in what the caller is told."""

from collections.abc import Iterator

import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from berth.core import errors, validation
from berth.core.errors import BerthError
from berth.rpc.status import TABLE, Refusal, refusal
from berth.v1.error_pb2 import ErrorReply

INVALID = "invalid_request_error"
ROWS = [
    (errors.InvalidRequestError("no"), StatusCode.INVALID_ARGUMENT, 400, INVALID, "invalid_value"),
    (errors.InvalidRequestError("no", code="own"), StatusCode.INVALID_ARGUMENT, 400, INVALID, "own"),
    (
        errors.UnsupportedOperationError("container_list", "cohere"),
        StatusCode.FAILED_PRECONDITION,
        400,
        INVALID,
        "unsupported_operation",
    ),
    (
        errors.ProviderNotConfiguredError("no"),
        StatusCode.FAILED_PRECONDITION,
        400,
        INVALID,
        "provider_not_configured",
    ),
    (errors.ExecUnsupportedError("no"), StatusCode.FAILED_PRECONDITION, 400, INVALID, "exec_unsupported"),
    (errors.ContainerBusyError(), StatusCode.ABORTED, 409, INVALID, "container_busy"),
    (errors.ContainerExpiredError(), StatusCode.FAILED_PRECONDITION, 400, INVALID, None),
    (
        errors.AuthenticationError("no", code="virtual_key_required"),
        StatusCode.UNAUTHENTICATED,
        401,
        "virtual_key_required",
        "virtual_key_required",
    ),
    (
        errors.PermissionDeniedError("no", code="provider_blocked"),
        StatusCode.PERMISSION_DENIED,
        403,
        "provider_blocked",
        "provider_blocked",
    ),
    (errors.NotFoundError("no"), StatusCode.NOT_FOUND, 404, INVALID, None),
    (errors.SlowRequestError("no"), StatusCode.DEADLINE_EXCEEDED, 408, INVALID, "request_too_slow"),
    (
        errors.UnsupportedMediaTypeError("no"),
        StatusCode.INVALID_ARGUMENT,
        415,
        INVALID,
        "unsupported_media_type",
    ),
    (errors.PreconditionFailedError("no"), StatusCode.FAILED_PRECONDITION, 412, INVALID, "precondition_failed"),
    (errors.RangeNotSatisfiableError(5), StatusCode.OUT_OF_RANGE, 416, INVALID, "range_not_satisfiable"),
    (errors.IdempotencyConflictError("no"), StatusCode.ABORTED, 409, INVALID, "idempotency_in_progress"),
    (
        errors.RateLimitError("no", code="rate_limited", retry_after_seconds=7),
        StatusCode.RESOURCE_EXHAUSTED,
        429,
        "rate_limited",
        "rate_limited",
    ),
    (errors.BudgetExceededError("no"), StatusCode.RESOURCE_EXHAUSTED, 402, INVALID, "budget_exceeded"),
    (errors.UpstreamError("no"), StatusCode.UNAVAILABLE, 503, "api_error", "provider_server_error"),
    (errors.StorageError("no"), StatusCode.UNAVAILABLE, 503, "api_error", "storage_unavailable"),
    (errors.StoppingError(), StatusCode.UNAVAILABLE, 503, "api_error", "service_unavailable"),
    (errors.UpstreamTimeoutError("no"), StatusCode.DEADLINE_EXCEEDED, 504, "api_error", "request_timed_out"),
]


def refused(error: BaseException) -> Refusal:
    return refusal(error, request_id="request-1", request_type="container_list", provider=None)


def descendants(kind: type[BerthError]) -> Iterator[type[BerthError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("berth."):
            yield child
            yield from descendants(child)


def test_the_table_has_no_hole() -> None:
    """Each error of the core has a row of its own, which is tried below; one of an adapter has that of its parent."""
    found = set(descendants(BerthError))
    every = {error for error in found if error.__module__ == errors.__name__}
    assert every == set(TABLE) - {BaseException}
    assert {error for error in found - every if error.__base__ not in every} == set()
    assert every == {type(error) for error, *_ in ROWS}


@pytest.mark.parametrize(("error", "status", "http", "kind", "code"), ROWS, ids=lambda value: type(value).__name__)
def test_a_row(error: BerthError, status: StatusCode, http: int, kind: str, code: str | None) -> None:
    """Status, HTTP status, type and code are those of the documented table, and the text is the error's own."""
    refused_ = refused(error)
    reply = ErrorReply.FromString(refused_.details)
    assert (refused_.status, reply.status_code) == (status, http)
    assert reply.error.type == kind
    assert reply.error.code.string_value == (code or "")
    assert reply.error.code.WhichOneof("kind") == ("string_value" if code else "null_value")
    assert reply.error.param.WhichOneof("kind") == "null_value"
    assert refused_.message == reply.error.message == error.message
    assert reply.extra_fields.request_type == "container_list"
    assert reply.is_bifrost_error == isinstance(error, (errors.StorageError, errors.StoppingError))
    assert refused_.unforeseen is None


def test_an_error_of_a_derived_class_has_its_parents_row() -> None:
    """What is derived from a known error is told like it."""

    class FullDiskError(errors.StorageError):
        pass

    assert refused(FullDiskError("full")).status is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("error", [ValueError("the password is hunter2"), KeyError("hunter2"), BerthError("odd")])
def test_a_bug_is_internal(error: Exception) -> None:
    """What nobody foresaw is INTERNAL, is_bifrost_error, and has no code."""
    refused_ = refused(error)
    reply = ErrorReply.FromString(refused_.details)
    assert refused_.status is StatusCode.INTERNAL
    assert reply.is_bifrost_error
    assert reply.error.code.WhichOneof("kind") == "null_value"
    assert b"hunter2" not in refused_.details
    assert "hunter2" not in refused_.message


def test_a_bug_is_told_by_the_request_id_alone() -> None:
    """The text has the request id; the error itself is for the log."""
    bug = ValueError("the password is hunter2")
    refused_ = refused(bug)
    assert refused_.message == "internal error, request id request-1"
    assert refused_.unforeseen is bug


def test_a_failed_storage_may_be_tried_again_unless_it_is_final() -> None:
    """The delay is in a header and, for gRPC callers, in RetryInfo, too; a final error has neither."""
    final = errors.file_damaged()
    delays = []
    for error in (errors.StorageError("away"), final):
        kinds = [detail.TypeName() for detail in Status.FromString(refused(error).details).details]
        delays.append((dict(refused(error).headers).get("retry-after"), "google.rpc.RetryInfo" in kinds))
    assert delays == [("2", True), (None, False)]


def test_the_standard_details_say_the_same() -> None:
    """Callers of gRPC find code, parameter and delay in ErrorInfo, BadRequest and RetryInfo."""
    error = BerthError("slow down", param="limit", code="too_fast", retry_after_seconds=7)
    refused_ = refused(error)
    standard = Status.FromString(refused_.details)
    info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
    for packed, detail in zip(standard.details, (info, bad, retry), strict=True):
        assert packed.Unpack(detail)
    assert (info.reason, info.domain) == ("TOO_FAST", "berth.v1")
    assert [(violation.field, violation.description) for violation in bad.field_violations] == [("limit", "slow down")]
    assert retry.retry_delay == Duration(seconds=7)
    assert refused_.headers == (("retry-after", "7"),)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.NotFoundError("no"), "NOT_FOUND"),
        (validation.container_not_found("c"), "CONTAINER_NOT_FOUND"),
        (validation.container_file_not_found("c", "f"), "CONTAINER_FILE_NOT_FOUND"),
        (validation.file_not_found("f"), "FILE_NOT_FOUND"),
        (errors.ContainerExpiredError(), "CONTAINER_EXPIRED"),
        (KeyError("bug"), "INTERNAL_ERROR"),
    ],
)
def test_an_error_without_a_code_has_a_reason_all_the_same(error: Exception, reason: str) -> None:
    """ErrorInfo says what happened, also where the code is null for REST callers."""
    info, refused_ = ErrorInfo(), refused(error)
    assert Status.FromString(refused_.details).details[0].Unpack(info)
    assert info.reason == reason
    assert ErrorReply.FromString(refused_.details).error.code.WhichOneof("kind") == "null_value"


def test_http_is_asked_for_where_grpc_has_no_word() -> None:
    """A status that Envoy would make another one of is asked for; for all others Envoy's is right."""
    overrides = {type(error): refused(error).http_override for error, *_ in ROWS}
    asked = {kind.__name__: http for kind, http in overrides.items() if http is not None}
    assert asked == {
        "SlowRequestError": 408,
        "UnsupportedMediaTypeError": 415,
        "PreconditionFailedError": 412,
        "RangeNotSatisfiableError": 416,
        "BudgetExceededError": 402,
    }


def test_http_headers_of_errors() -> None:
    """401 says how to authenticate, and 416 how large the file is."""
    unauthenticated = refused(errors.AuthenticationError("no", code="virtual_key_required"))
    assert unauthenticated.headers == (("www-authenticate", 'Bearer realm="berth"'),)
    assert refused(errors.RangeNotSatisfiableError(5)).headers == (("content-range", "bytes */5"),)


@pytest.mark.parametrize(("thrown", "known", "told"), [("groq", "openai", "groq"), (None, "openai", "openai")])
def test_the_provider_is_the_throwers_before_the_requests(thrown: str | None, known: str, told: str) -> None:
    """Who throws may know the provider better than the request does."""
    error = errors.UpstreamError("no", provider=thrown)
    refused_ = refusal(error, request_id="", request_type="container_list", provider=known)
    assert ErrorReply.FromString(refused_.details).extra_fields.provider == told
