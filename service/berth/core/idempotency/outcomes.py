"""Stored outcomes of requests with an idempotency key: an answer or a permanent error."""

from json import dumps, loads
from typing import TypeVar

from berth.core import errors
from berth.core.errors import BerthError
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.exec_pb2 import Exec
from berth.v1.file_pb2 import File

KEPT_ERRORS = (
    errors.InvalidRequestError,
    errors.NotFoundError,
    errors.UnsupportedOperationError,
    errors.ContainerExpiredError,
)
"""Permanent errors: the same request would fail again, so they are stored. Other errors may be temporary."""

_ANSWER, _ERROR = b"A", b"E"
_PER_CALL_FIELDS = ("latency", "upstream_latency", "raw_request", "raw_response", "cache_debug")
Answer = TypeVar("Answer", Container, ContainerFile, File, Exec)


def answer_outcome(answer: Container | ContainerFile | File | Exec) -> bytes:
    """Return an answer in its stored form, without the fields that belong to a single call."""
    kept = type(answer).FromString(answer.SerializeToString())
    for field in _PER_CALL_FIELDS:
        kept.extra_fields.ClearField(field)
    return _ANSWER + kept.SerializeToString()


def error_outcome(error: BerthError) -> bytes:
    """Return an error in its stored form."""
    fields = {name: getattr(error, name) for name in ("message", "param", "code", "provider", "kind", "reason")}
    return _ERROR + dumps({"error": type(error).__name__, **fields}).encode()


def replayed(outcome: bytes, kind: type[Answer]) -> Answer:
    """Return the stored answer, which has the type `kind`, or raise the stored error, marked as replayed."""
    if outcome.startswith(_ERROR):
        raise _error(loads(outcome[1:]))
    answer = kind.FromString(outcome[1:])
    answer.extra_fields.idempotent_replayed = True
    return answer


def _error(fields: dict[str, str | None]) -> BerthError:
    kind, reason = getattr(errors, str(fields.pop("error"))), fields.pop("reason", None)
    error: BerthError = kind.__new__(kind)  # some constructors take arguments that are not stored
    BerthError.__init__(error, str(fields.pop("message")), **fields)  # type: ignore[arg-type] # as they were stored
    error.reason, error.is_replayed = reason, True
    return error
