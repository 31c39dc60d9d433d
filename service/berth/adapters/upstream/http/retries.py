"""When something is sent again: never where that might do it twice."""

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
"""A provider that wants to be left alone for longer is not asked again."""
NOTHING_SENT = (ClientConnectorError, ConnectionTimeoutError)
"""The faults after which a provider has certainly received nothing."""
_PASSING = frozenset({429, 500, 502, 503, 504})
_BACKOFF = wait_random_exponential(multiplier=0.5, max=8)

Outcome = UpstreamResponse | ClientError
Send = Callable[[], Awaitable[UpstreamResponse]]


class Retries:
    """Repeats an attempt as long as it may help, at most `max_retries` times and within `timeout_seconds`.

    `sleep` waits for a number of seconds.
    """

    def __init__(self, *, max_retries: int, timeout_seconds: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._max_tries = max_retries + 1
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep

    async def run(self, send: Send, *, repeatable: bool) -> UpstreamResponse:
        """Return the last answer or raise the last error of aiohttp's.

        Only what is `repeatable` is sent again after it may have been received.
        """
        first = await _outcome(send)
        if self._max_tries > 1 and may_help(first, repeatable=repeatable):
            return await self._repeated(send, first, repeatable=repeatable)
        return _value(first)

    async def _repeated(self, send: Send, first: Outcome, *, repeatable: bool) -> UpstreamResponse:
        # The first attempt is made without tenacity, which costs a fifth of what the attempt itself does.
        made = [first]

        async def resend() -> Outcome:
            return made.pop() if made else await _outcome(send)

        retrying = AsyncRetrying(
            sleep=self._sleep,
            wait=_wait,
            stop=stop_after_attempt(self._max_tries) | stop_before_delay(self._timeout_seconds),
            retry=retry_if_result(lambda outcome: may_help(outcome, repeatable=repeatable)),
            retry_error_callback=_last,
        )
        return _value(await retrying(resend))


def may_help(outcome: Outcome, *, repeatable: bool) -> bool:
    """Tell whether to try again after `outcome`."""
    if isinstance(outcome, UpstreamResponse):
        patient = (outcome.retry_after or 0) <= MAX_RETRY_AFTER_SECONDS
        return repeatable and outcome.status in _PASSING and patient
    if isinstance(outcome, ClientSSLError):
        return False
    if isinstance(outcome, NOTHING_SENT):
        return True
    lost = isinstance(outcome, ClientConnectionError | ClientPayloadError) and not isinstance(outcome, TimeoutError)
    return repeatable and lost


async def _outcome(send: Send) -> Outcome:
    try:
        return await send()
    except ClientError as error:
        return error


def _value(outcome: Outcome) -> UpstreamResponse:
    if isinstance(outcome, UpstreamResponse):
        return outcome
    raise outcome


def _last(state: RetryCallState) -> Outcome:
    outcome: Outcome = state.outcome.result()  # type: ignore[union-attr] # an attempt was made
    return outcome


def _wait(state: RetryCallState) -> float:
    last = _last(state)
    asked = last.retry_after if isinstance(last, UpstreamResponse) else None
    return _BACKOFF(state) if asked is None else asked
