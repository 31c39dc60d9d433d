"""Map core errors to what callers see: the table of statuses, and the bytes that carry an error.

gRPC callers get a standard google.rpc.Status with ErrorInfo (reason = code), BadRequest (the
parameter) and RetryInfo. REST callers get the ErrorReply that is appended to the same bytes; see
proto/berth/v1/error.proto.
"""

from dataclasses import dataclass

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NullValue, Value
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from berth.core.errors import (
    AuthenticationError,
    BerthError,
    BudgetExceededError,
    ContainerBusyError,
    ContainerExpiredError,
    ExecUnsupportedError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    PreconditionFailedError,
    ProviderNotConfiguredError,
    RangeNotSatisfiableError,
    RateLimitError,
    SlowRequestError,
    StoppingError,
    StorageError,
    UnsupportedMediaTypeError,
    UnsupportedOperationError,
    UpstreamError,
    UpstreamTimeoutError,
)
from berth.v1.error_pb2 import ErrorDetail, ErrorExtraFields, ErrorReply

DOMAIN = "berth.v1"
"""The domain of every ErrorInfo."""


CHALLENGE = ("www-authenticate", 'Bearer realm="berth"')
"""The header that says how to authenticate (RFC 9110, section 11.6.1)."""
REPLAYED = ("idempotent-replayed", "true")
"""The header of a response that repeats the answer to an earlier request with the same idempotency key."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an error becomes: the gRPC status, the HTTP status, the type and the code.

    If `kind` is None, the type is the error's code. `code` is used if the error itself has none.
    `own` means that the service itself failed, and not the caller or a provider. `reason` is what
    gRPC callers get if there is no code.
    """

    status: StatusCode
    http: int
    kind: str | None
    code: str | None = None
    own: bool = False
    reason: str | None = None


_INVALID = "invalid_request_error"
_API = "api_error"

TABLE: dict[type[BaseException], Row] = {
    InvalidRequestError: Row(StatusCode.INVALID_ARGUMENT, 400, _INVALID, "invalid_value"),
    UnsupportedMediaTypeError: Row(StatusCode.INVALID_ARGUMENT, 415, _INVALID, "unsupported_media_type"),
    SlowRequestError: Row(StatusCode.DEADLINE_EXCEEDED, 408, _INVALID, "request_too_slow"),
    PreconditionFailedError: Row(StatusCode.FAILED_PRECONDITION, 412, _INVALID, "precondition_failed"),
    RangeNotSatisfiableError: Row(StatusCode.OUT_OF_RANGE, 416, _INVALID, "range_not_satisfiable"),
    UnsupportedOperationError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID, "unsupported_operation"),
    ProviderNotConfiguredError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID, "provider_not_configured"),
    ContainerExpiredError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID, reason="container_expired"),
    BudgetExceededError: Row(StatusCode.RESOURCE_EXHAUSTED, 402, _INVALID, "budget_exceeded"),
    AuthenticationError: Row(StatusCode.UNAUTHENTICATED, 401, None),
    PermissionDeniedError: Row(StatusCode.PERMISSION_DENIED, 403, None),
    NotFoundError: Row(StatusCode.NOT_FOUND, 404, _INVALID, reason="not_found"),
    IdempotencyConflictError: Row(StatusCode.ABORTED, 409, _INVALID, "idempotency_in_progress"),
    ContainerBusyError: Row(StatusCode.ABORTED, 409, _INVALID, "container_busy"),
    ExecUnsupportedError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID, "exec_unsupported"),
    RateLimitError: Row(StatusCode.RESOURCE_EXHAUSTED, 429, None),
    UpstreamError: Row(StatusCode.UNAVAILABLE, 503, _API, "provider_server_error"),
    StorageError: Row(StatusCode.UNAVAILABLE, 503, _API, "storage_unavailable", own=True),
    StoppingError: Row(StatusCode.UNAVAILABLE, 503, _API, "service_unavailable", own=True),
    UpstreamTimeoutError: Row(StatusCode.DEADLINE_EXCEEDED, 504, _API, "request_timed_out"),
    BaseException: Row(StatusCode.INTERNAL, 500, _API, own=True, reason="internal_error"),
}


_TRANSCODED_STATUS = {
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
}
"""The HTTP status that Envoy's transcoder makes of a gRPC status. Any other has to be requested."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as it is sent: the status, its text, and both kinds of details.

    `details` is the value of the trailing metadata `grpc-status-details-bin`, and `headers` are
    sent with it. `http` is the status that REST callers get. `unforeseen` is the error itself if it
    is a bug, for the log only.
    """

    status: StatusCode
    message: str
    details: bytes
    http: int
    headers: tuple[tuple[str, str], ...] = ()
    unforeseen: BaseException | None = None

    @property
    def http_override(self) -> int | None:
        """The HTTP status if the transcoder would make another one of `status`, else None."""
        return None if self.http == _TRANSCODED_STATUS[self.status] else self.http


def row_of(error: BaseException) -> Row:
    """Return the row of the table for `error`."""
    return next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)


def code_of(error: BaseException) -> str | None:
    """Return the code of an error of Berth's own; None if there is none, or a provider chose it."""
    if not isinstance(error, BerthError) or error.kind is not None:
        return None
    return error.code or row_of(error).code


def refusal(error: BaseException, *, request_id: str, request_type: str, provider: str | None) -> Refusal:
    """Return what the caller gets for `error`: only a request id unless it is a BerthError."""
    row = row_of(error)
    reported = error if isinstance(error, BerthError) else BerthError(f"internal error, request id {request_id}")
    code = reported.code or (row.code if reported.kind is None else None)  # a provider's error is complete
    reply = ErrorReply(
        error=ErrorDetail(
            message=reported.message,
            type=reported.kind or row.kind or code,
            param=_text_or_null(reported.param),
            code=_text_or_null(code),
        ),
        is_bifrost_error=row.own,
        status_code=row.http,
        extra_fields=ErrorExtraFields(provider=reported.provider or provider, request_type=request_type),
    )
    standard = Status(
        code=row.status.value[0],
        message=reported.message,
        details=_details(reported, code or reported.reason or row.reason or reported.kind or row.kind or ""),
    )
    # Both messages in the same bytes: parsers of either one skip the fields of the other.
    details = standard.SerializeToString() + reply.SerializeToString()
    return Refusal(
        row.status,
        reported.message,
        details,
        http=row.http,
        headers=_headers(reported),
        unforeseen=None if reported is error else error,
    )


def _headers(error: BerthError) -> tuple[tuple[str, str], ...]:
    """Return the headers of an error: whether to retry, and what HTTP requires with its status."""
    replayed = (REPLAYED,) if error.is_replayed else ()
    if isinstance(error, AuthenticationError):
        return (CHALLENGE, *replayed)
    if isinstance(error, RangeNotSatisfiableError):
        if error.size is None:
            return ()
        return (("content-range", f"bytes */{error.size}"),)
    if error.is_final or isinstance(error, BudgetExceededError):
        return (("x-should-retry", "false"), *replayed)
    retry_after = error.retry_after_seconds
    return replayed if retry_after is None else (("retry-after", str(retry_after)), *replayed)


def _details(error: BerthError, reason: str) -> list[AnyMessage]:
    details: list[Message] = [ErrorInfo(reason=reason.upper(), domain=DOMAIN)]
    if error.param is not None:
        violation = BadRequest.FieldViolation(field=error.param, description=error.message, reason=reason.upper())
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None and not error.is_final:
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after_seconds)))
    return [_pack(detail) for detail in details]


def _pack(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _text_or_null(text: str | None) -> Value:
    return Value(null_value=NullValue.NULL_VALUE) if text is None else Value(string_value=text)
