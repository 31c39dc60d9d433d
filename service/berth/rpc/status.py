"""Core error → what callers see: the table, and the bytes that carry it.

gRPC callers get a standard google.rpc.Status with ErrorInfo (reason = code),
BadRequest (the parameter) and RetryInfo. REST callers get the ErrorReply that is
written behind it into the same bytes; see proto/berth/v1/error.proto.
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
    ContainerExpiredError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProviderNotConfiguredError,
    RateLimitError,
    StorageError,
    UnsupportedOperationError,
    UpstreamError,
    UpstreamTimeoutError,
)
from berth.v1.error_pb2 import ErrorDetail, ErrorExtraFields, ErrorReply

DOMAIN = "berth.v1"
"""The domain of every ErrorInfo."""


REPLAYED = ("idempotent-replayed", "true")
"""The header of what an earlier request with the same idempotency key was answered."""


@dataclass(frozen=True, slots=True)
class Row:
    """What an error becomes: the gRPC status, the HTTP status that Envoy makes of it, type and code.

    `kind` None means that the type is the error's code; `code` stands where the
    error itself has none; `own` says that the service itself failed, and not the
    caller or a provider.
    """

    status: StatusCode
    http: int
    kind: str | None
    code: str | None = None
    own: bool = False


_INVALID = "invalid_request_error"
_API = "api_error"

TABLE: dict[type[BaseException], Row] = {
    InvalidRequestError: Row(StatusCode.INVALID_ARGUMENT, 400, _INVALID, "invalid_value"),
    UnsupportedOperationError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID, "unsupported_operation"),
    ProviderNotConfiguredError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID, "provider_not_configured"),
    ContainerExpiredError: Row(StatusCode.FAILED_PRECONDITION, 400, _INVALID),
    AuthenticationError: Row(StatusCode.UNAUTHENTICATED, 401, None),
    PermissionDeniedError: Row(StatusCode.PERMISSION_DENIED, 403, None),
    NotFoundError: Row(StatusCode.NOT_FOUND, 404, _INVALID),
    IdempotencyConflictError: Row(StatusCode.ABORTED, 409, _INVALID, "idempotency_in_progress"),
    RateLimitError: Row(StatusCode.RESOURCE_EXHAUSTED, 429, None),
    UpstreamError: Row(StatusCode.UNAVAILABLE, 503, _API, "provider_server_error"),
    StorageError: Row(StatusCode.UNAVAILABLE, 503, _API, "storage_unavailable", own=True),
    UpstreamTimeoutError: Row(StatusCode.DEADLINE_EXCEEDED, 504, _API, "request_timed_out"),
    BaseException: Row(StatusCode.INTERNAL, 500, _API, own=True),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error as it goes on the wire: the status, its text, and both kinds of details.

    `details` belong into the trailing metadata `grpc-status-details-bin`, and
    `headers` beside them. `unforeseen` is the error itself where it is a bug,
    for the log alone.
    """

    status: StatusCode
    message: str
    details: bytes
    headers: tuple[tuple[str, str], ...] = ()
    unforeseen: BaseException | None = None


def refusal(error: BaseException, *, request_id: str, request_type: str, provider: str | None) -> Refusal:
    """Return what the caller is told about `error`: nothing of it unless it is a BerthError."""
    row = next(TABLE[kind] for kind in type(error).__mro__ if kind in TABLE)
    told = error if isinstance(error, BerthError) else BerthError(f"internal error, request id {request_id}")
    code = told.code or (row.code if told.kind is None else None)  # a provider's own error says all there is
    reply = ErrorReply(
        error=ErrorDetail(
            message=told.message,
            type=told.kind or row.kind or code,
            param=_text_or_null(told.param),
            code=_text_or_null(code),
        ),
        is_bifrost_error=row.own,
        status_code=row.http,
        extra_fields=ErrorExtraFields(provider=told.provider or provider, request_type=request_type),
    )
    standard = Status(
        code=row.status.value[0], message=told.message, details=_details(told, code or told.kind or row.kind or "")
    )
    # Both at once: parsers of either message skip the fields of the other.
    details = standard.SerializeToString() + reply.SerializeToString()
    return Refusal(
        row.status,
        told.message,
        details,
        headers=_headers(told),
        unforeseen=None if told is error else error,
    )


def _headers(error: BerthError) -> tuple[tuple[str, str], ...]:
    """Return what the SDKs of OpenAI read to decide whether they send the request again."""
    replayed = (REPLAYED,) if error.is_replayed else ()
    if error.is_final:
        return (("x-should-retry", "false"), *replayed)
    retry_after = error.retry_after_seconds
    return replayed if retry_after is None else (("retry-after", str(retry_after)), *replayed)


def _details(error: BerthError, reason: str) -> list[AnyMessage]:
    details: list[Message] = [ErrorInfo(reason=reason.upper(), domain=DOMAIN)]
    if error.param is not None:
        violation = BadRequest.FieldViolation(field=error.param, description=error.message, reason=reason.upper())
        details.append(BadRequest(field_violations=[violation]))
    if error.retry_after_seconds is not None:
        details.append(RetryInfo(retry_delay=Duration(seconds=error.retry_after_seconds)))
    return [_packed(detail) for detail in details]


def _packed(detail: Message) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed


def _text_or_null(text: str | None) -> Value:
    return Value(null_value=NullValue.NULL_VALUE) if text is None else Value(string_value=text)
