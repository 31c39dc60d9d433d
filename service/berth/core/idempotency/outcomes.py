"""The stored outcome of a request with an idempotency key: an answer, or an error that would come again."""

from json import dumps, loads
from typing import TypeVar

from berth.core import errors
from berth.core.errors import BerthError
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container
from berth.v1.file_pb2 import File

KEPT_ERRORS = (
    errors.InvalidRequestError,
    errors.NotFoundError,
    errors.UnsupportedOperationError,
    errors.ContainerExpiredError,
)
"""Permanent failures: the same request would fail again, so they are stored. All others may pass."""

_ANSWER, _ERROR = b"A", b"E"
_OF_ONE_CALL = ("latency", "upstream_latency", "raw_request", "raw_response", "cache_debug")
Answer = TypeVar("Answer", Container, ContainerFile, File)


def answer_outcome(answer: Container | ContainerFile | File) -> bytes:
    """Return an answer as it is kept: without what belongs to the one call that it answered."""
    kept = type(answer).FromString(answer.SerializeToString())
    for field in _OF_ONE_CALL:
        kept.extra_fields.ClearField(field)
    return _ANSWER + kept.SerializeToString()


def error_outcome(error: BerthError) -> bytes:
    """Return an error as it is kept."""
    fields = {name: getattr(error, name) for name in ("message", "param", "code", "provider", "kind", "reason")}
    return _ERROR + dumps({"error": type(error).__name__, **fields}).encode()


def replayed(outcome: bytes, kind: type[Answer]) -> Answer:
    """Return the answer, of a `kind`, that was kept, or raise the error that was, marked as told again."""
    if outcome.startswith(_ERROR):
        raise _error(loads(outcome[1:]))
    answer = kind.FromString(outcome[1:])
    answer.extra_fields.idempotent_replayed = True
    return answer


def _error(fields: dict[str, str | None]) -> BerthError:
    kind, reason = getattr(errors, str(fields.pop("error"))), fields.pop("reason", None)
    error: BerthError = kind.__new__(kind)  # some have constructors of their own, whose arguments are not kept
    BerthError.__init__(error, str(fields.pop("message")), **fields)  # type: ignore[arg-type] # as they were kept
    error.reason, error.is_replayed = reason, True
    return error
