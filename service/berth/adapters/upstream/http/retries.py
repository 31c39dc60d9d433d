"""Retries: sends a request again after a failure, unless that might execute it twice."""

from collections.abc import Awaitable, Callable

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientSSLError,
    ConnectionTimeoutError,
)
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_result,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from berth.adapters.upstream.http.response import UpstreamResponse

MAX_RETRY_AFTER_SECONDS = 30
"""With a longer Retry-After a request is not sent again."""
NOTHING_SENT = (ClientConnectorError, ConnectionTimeoutError)
"""Errors after which the provider has certainly received nothing."""
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_BACKOFF = wait_random_exponential(multiplier=0.5, max=8)

Outcome = UpstreamResponse | ClientError
Send = Callable[[], Awaitable[UpstreamResponse]]


class Retries:
    """Sends a request again while that may succeed, at most `max_retries` times and within `timeout_seconds`.

    `sleep` waits for a number of seconds.
    """

    def __init__(self, *, max_retries: int, timeout_seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._max_tries = max_retries + 1
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    async def run(self, send: Send, *, repeatable: bool) -> UpstreamResponse:
        """Return the last response or raise the last error of aiohttp.

        Only a `repeatable` request is sent again after the provider may have received it.
        """
        first = await _try(send)
        if self._max_tries > 1 and _is_worth_retrying(first, repeatable=repeatable):
            return await self._retry(send, first, repeatable=repeatable)
        return _value(first)

    async def _retry(self, send: Send, first: Outcome, *, repeatable: bool) -> UpstreamResponse:
        # The first try is made without tenacity, which would add a fifth to its cost.
        made = [first]

        async def resend() -> Outcome:
            return made.pop() if made else await _try(send)

        retrying = AsyncRetrying(
            sleep=self._sleep,
            wait=_wait,
            stop=stop_after_attempt(self._max_tries) | stop_before_delay(self._timeout_seconds),
            retry=retry_if_result(lambda outcome: _is_worth_retrying(outcome, repeatable=repeatable)),
            retry_error_callback=_last,
        )
        return _value(await retrying(resend))


def _is_worth_retrying(outcome: Outcome, *, repeatable: bool) -> bool:
    """Return whether to send a request again after `outcome`."""
    if isinstance(outcome, UpstreamResponse):
        is_soon = (outcome.retry_after or 0) <= MAX_RETRY_AFTER_SECONDS
        return repeatable and outcome.status in _TRANSIENT and is_soon
    if isinstance(outcome, ClientSSLError):
        return False
    if isinstance(outcome, NOTHING_SENT):
        return True
    is_lost = isinstance(outcome, ClientConnectionError | ClientPayloadError) and not isinstance(outcome, TimeoutError)
    return repeatable and is_lost


async def _try(send: Send) -> Outcome:
    try:
        return await send()
    except ClientError as error:
        return error


def _value(outcome: Outcome) -> UpstreamResponse:
    if isinstance(outcome, UpstreamResponse):
        return outcome
    raise outcome


def _last(state: RetryCallState) -> Outcome:
    outcome: Outcome = state.outcome.result()  # type: ignore[union-attr] # a try was made
    return outcome


def _wait(state: RetryCallState) -> float:
    last = _last(state)
    retry_after = last.retry_after if isinstance(last, UpstreamResponse) else None
    return _BACKOFF(state) if retry_after is None else retry_after
