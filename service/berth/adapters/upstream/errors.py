"""What an answer that is no success becomes: upstream status → core error.

What the provider says is handed on, without secrets; what it does not say in
its API's own form (HTML, nothing, half a body) never is.
"""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from aiohttp import ClientConnectorError, ClientError, ClientPayloadError, ClientResponseError, ClientSSLError

from berth.adapters.upstream.http.redaction import scrubbed
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


@dataclass(frozen=True, slots=True)
class Said:
    """What a provider says about an error, as far as it does; `message` is empty where it says nothing."""

    message: str = ""
    kind: str | None = None
    param: str | None = None
    code: str | None = None


@contextmanager
def translated(provider: str) -> Iterator[None]:
    """Raise errors of the way to `provider` as core errors. Their texts stay here: they name hosts and proxies."""
    try:
        yield
    except TimeoutError as error:
        raise UpstreamTimeoutError(f"{provider} did not answer in time.", provider=provider) from error
    except ClientError as error:
        raise UpstreamError(f"{_fault(error)} {provider}.", code=_code(error), provider=provider) from error


def refusal(
    response: UpstreamResponse, *, provider: str, direct: bool = False, secrets: Collection[str] = ()
) -> BerthError:
    """Return the error for an answer whose status is no success.

    `direct` says that the key was the caller's own: that it is refused is then
    the caller's business.
    """
    said = said_in(response, secrets)
    error = _error(response, said, provider=provider, direct=direct)
    error.param = error.param or said.param
    error.provider = provider
    return error


def unreadable(provider: str, how: str) -> UpstreamError:
    """Return the error for an answer that nobody can make anything of."""
    return UpstreamError(f"{provider} answered {how}.", code=SERVER_ERROR, provider=provider)


def said_in(response: UpstreamResponse, secrets: Collection[str]) -> Said:
    """Return what the body of an error says, without `secrets`."""
    try:
        body = response.json()
    except ValueError:
        return Said()
    return said_of(body, secrets)


def said_of(body: object, secrets: Collection[str]) -> Said:
    """Return what the error in a JSON body says; nothing if there is none in it."""
    error = body.get("error") if isinstance(body, dict) else None
    if isinstance(error, str):
        return Said(scrubbed(error, secrets)[:_MAX_TEXT])
    if not isinstance(error, dict):
        return Said()
    message, kind, param, code = (_text(error.get(name), secrets) for name in ("message", "type", "param", "code"))
    return Said(message or "", kind, param, code)


def _text(value: object, secrets: Collection[str]) -> str | None:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    return scrubbed(str(value), secrets)[:_MAX_TEXT]


def _error(response: UpstreamResponse, said: Said, *, provider: str, direct: bool) -> BerthError:
    status = response.status
    if status in REFUSED_KEY and not direct:
        return _failed(response, said, provider)
    message = said.message or f"{provider} refused the request with status {status}."
    if status in _ERRORS:
        return _ERRORS[status](message, said, response)
    return _invalid(message, said, response) if status in _CLIENT_ERRORS else _failed(response, said, provider)


def _invalid(message: str, said: Said, _: UpstreamResponse) -> BerthError:
    if message == _EXPIRED:
        return ContainerExpiredError()
    return InvalidRequestError(message, code=said.code, kind=said.kind)


def _limited(message: str, said: Said, response: UpstreamResponse) -> BerthError:
    code, seconds = said.code or "rate_limited", _retry_after(response)
    return RateLimitError(message, code=code, retry_after_seconds=1 if seconds is None else seconds, kind=said.kind)


_ERRORS: dict[int, Callable[[str, Said, UpstreamResponse], BerthError]] = {
    401: lambda message, said, _: AuthenticationError(message, code=said.code or "invalid_api_key", kind=said.kind),
    403: lambda message, said, _: PermissionDeniedError(message, code=said.code or "permission_denied", kind=said.kind),
    404: lambda message, said, _: NotFoundError(message, code=said.code, kind=said.kind),
    408: lambda message, _, __: UpstreamTimeoutError(message),
    409: lambda message, said, _: IdempotencyConflictError(message, code=said.code or "conflict", kind=said.kind),
    429: _limited,
}
"""The statuses that mean something special; a 401 and a 403 only where the key was the caller's own."""


def _failed(response: UpstreamResponse, said: Said, provider: str) -> UpstreamError:
    what = "a redirect, which is not followed" if response.status in _REDIRECTS else f"status {response.status}"
    message = f"{provider} answered with {what}{f': {said.message}' if said.message else '.'}"
    return UpstreamError(message, code=SERVER_ERROR, retry_after_seconds=_retry_after(response))


def _retry_after(response: UpstreamResponse) -> int | None:
    seconds = response.retry_after
    return None if seconds is None else ceil(seconds)


def _fault(error: ClientError) -> str:
    if isinstance(error, ClientSSLError):
        return "No trustworthy connection can be made to"
    if isinstance(error, ClientConnectorError):
        return "No connection can be made to"
    if isinstance(error, ClientResponseError):
        return "Something that is not HTTP came from"
    if isinstance(error, ClientPayloadError):
        return "The answer was cut off that came from"
    return "The connection broke that was made to"


def _code(error: ClientError) -> str:
    return SERVER_ERROR if isinstance(error, ClientResponseError) else CONNECTION_FAILED
