"""Translates failed responses and connections of a provider into core errors.

The provider's own message is passed on, without secrets, but only from an error in the
JSON form of the API: other bodies (HTML, an empty or incomplete body) are never passed on.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from aiohttp import ClientConnectorError, ClientError, ClientPayloadError, ClientResponseError, ClientSSLError

from berth.adapters.upstream.http.redaction import redact_text
from berth.adapters.upstream.http.response import UpstreamResponse
from berth.core.errors import (
    AuthenticationError,
    BerthError,
    ContainerExpiredError,
    IdempotencyConflictError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    UpstreamError,
    UpstreamTimeoutError,
)

CONNECTION_FAILED = "provider_connection_failed"
SERVER_ERROR = "provider_server_error"
REFUSED_KEY = frozenset({401, 403})
_EXPIRED = "Container is expired."
_MAX_TEXT = 1000
_REDIRECTS, _CLIENT_ERRORS = range(300, 400), range(400, 500)


class UnreadableAnswerError(UpstreamError):
    """The provider's response cannot be interpreted, so it may have done the work."""


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """The details of an error in a provider's response; `message` is empty if there is none."""

    message: str = ""
    kind: str | None = None
    param: str | None = None
    code: str | None = None


@contextmanager
def translated(provider: str) -> Iterator[None]:
    """Raise connection errors as core errors, without their texts, which may contain names of hosts and proxies."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeoutError(f"{provider} did not answer in time.", provider=provider) from error
    except ClientError as error:
        raise UpstreamError(f"{_fault(error)} {provider}.", code=_code(error), provider=provider) from error


def refusal(
    response: UpstreamResponse, *, provider: str, direct: bool = False, secrets: Collection[str] = ()
) -> BerthError:
    """Return the error for a response with a status other than success.

    `direct` is whether the key was the caller's own: if the provider refuses it,
    the caller gets the provider's 401 or 403.
    """
    details = error_details_in(response, secrets)
    error = _error(response, details, provider=provider, direct=direct)
    error.param = error.param or details.param
    error.provider = provider
    return error


def unreadable(provider: str, how: str) -> UnreadableAnswerError:
    """Return the error for a response that cannot be interpreted."""
    return UnreadableAnswerError(f"{provider} answered {how}.", code=SERVER_ERROR, provider=provider)


def error_details_in(response: UpstreamResponse, secrets: Collection[str]) -> ErrorDetails:
    """Return the details in the body of a failed response, without `secrets`."""
    try:
        body = response.json()
    except ValueError:
        return ErrorDetails()
    return error_details_of(body, secrets)


def error_details_of(body: object, secrets: Collection[str]) -> ErrorDetails:
    """Return the details of the error in a JSON body; empty ones if it has none."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return ErrorDetails(redact_text(error, secrets)[:_MAX_TEXT])
    if not isinstance(error, dict):
        return ErrorDetails()
    message, kind, param, code = (_text(error.get(name), secrets) for name in ("message", "type", "param", "code"))
    return ErrorDetails(message or "", kind, param, code)


def _text(value: object, secrets: Collection[str]) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return redact_text(str(value), secrets)[:_MAX_TEXT]


def _error(response: UpstreamResponse, details: ErrorDetails, *, provider: str, direct: bool) -> BerthError:
    status = response.status
    if status in REFUSED_KEY and not direct:
        return _failed(response, details, provider)
    message = details.message or f"{provider} refused the request with status {status}."
    if status in _ERRORS:
        return _ERRORS[status](message, details, response)
    return _invalid(message, details, response) if status in _CLIENT_ERRORS else _failed(response, details, provider)


def _invalid(message: str, details: ErrorDetails, _: UpstreamResponse) -> BerthError:
    if message == _EXPIRED:
        return ContainerExpiredError()
    return InvalidRequestError(message, code=details.code, kind=details.kind)


def _limited(message: str, details: ErrorDetails, response: UpstreamResponse) -> BerthError:
    code, seconds = details.code or "rate_limited", _retry_after(response)
    return RateLimitError(message, code=code, retry_after_seconds=1 if seconds is None else seconds, kind=details.kind)


_ERRORS: dict[int, Callable[[str, ErrorDetails, UpstreamResponse], BerthError]] = {
    401: lambda message, details, _: AuthenticationError(
        message, code=details.code or "invalid_api_key", kind=details.kind
    ),
    403: lambda message, details, _: PermissionDeniedError(
        message, code=details.code or "permission_denied", kind=details.kind
    ),
    404: lambda message, details, _: NotFoundError(message, code=details.code, kind=details.kind),
    408: lambda message, _, __: UpstreamTimeoutError(message),
    409: lambda message, details, _: IdempotencyConflictError(
        message, code=details.code or "conflict", kind=details.kind
    ),
    429: _limited,
}
"""The errors of certain statuses; 401 and 403 only if the key was the caller's own."""


def _failed(response: UpstreamResponse, details: ErrorDetails, provider: str) -> UpstreamError:
    answer = "a redirect, which is not followed" if response.status in _REDIRECTS else f"status {response.status}"
    message = f"{provider} answered with {answer}{f': {details.message}' if details.message else '.'}"
    return UpstreamError(message, code=SERVER_ERROR, retry_after_seconds=_retry_after(response))


def _retry_after(response: UpstreamResponse) -> int | None:
    seconds = response.retry_after
    return None if seconds is None else ceil(seconds)


def _fault(error: ClientError) -> str:
    if isinstance(error, ClientSSLError):
        return "Could not establish a trusted TLS connection to"
    if isinstance(error, ClientConnectorError):
        return "Could not connect to"
    if isinstance(error, ClientResponseError):
        return "Received an invalid HTTP response from"
    if isinstance(error, ClientPayloadError):
        return "Received an incomplete response from"
    return "Lost the connection to"


def _code(error: ClientError) -> str:
    return SERVER_ERROR if isinstance(error, ClientResponseError) else CONNECTION_FAILED
