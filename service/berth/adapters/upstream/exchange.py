"""Exchange: one operation at a provider, with its tries, its key, its response and the time that it took."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

import orjson

from berth.adapters.upstream.errors import (
    REFUSED_KEY,
    SERVER_ERROR,
    UnreadableAnswerError,
    error_details_of,
    refusal,
    translated,
    unreadable,
)
from berth.adapters.upstream.http.client import UpstreamRequest
from berth.adapters.upstream.http.redaction import redacted_value
from berth.adapters.upstream.http.response import UpstreamResponse
from berth.adapters.upstream.http.retries import NOTHING_SENT
from berth.adapters.upstream.settings import UpstreamKey
from berth.core.caller import Options
from berth.core.errors import BerthError, NotFoundError, UpstreamError
from berth.core.ports.container_store import ID_TAKEN
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import DeleteContainerFileResponse, ListContainerFilesResponse
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import DeleteContainerResponse, ListContainersResponse
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import DeleteFileResponse, ListFilesResponse

if TYPE_CHECKING:
    from berth.adapters.upstream.account import UpstreamAccount

MAX_CREATE_WAIT_SECONDS = 5
"""How long a create waits at most for its last usable key, if the provider sends a Retry-After."""
_TOO_MANY, _BEYOND_END = 429, 416
_GATEWAY_ERRORS = frozenset({502, 504})
"""Statuses of a gateway without a response of the provider, which may have done the work."""

T = TypeVar("T")
Answer = TypeVar(
    "Answer",
    Container,
    ContainerFile,
    ListContainersResponse,
    ListContainerFilesResponse,
    DeleteContainerResponse,
    DeleteContainerFileResponse,
    File,
    ListFilesResponse,
    DeleteFileResponse,
)


class Exchange:
    """Sends `request` with `key`, with retries, and returns successful responses only.

    `seconds` is how long the provider took in all `tries` together; `value` is the
    JSON value of its response. Every method that sends raises a core error on
    failure, within the timeout of the settings.
    """

    def __init__(self, account: "UpstreamAccount", request: UpstreamRequest, key: UpstreamKey) -> None:
        self.request = request
        self.key = key
        self.seconds = 0.0
        self.tries = 0
        self.value: object = None
        self._account = account
        self._provider = account.name
        self._ring = account.ring

    async def fetch(self) -> object:
        """Send the request; return the JSON value of the response."""
        return self._read(self._check(await self._run_in_time(self._send())))

    async def fetch_with_any_key(self) -> object:
        """Send the request with one configured key after another until one is accepted; return the JSON value."""
        return self._read(self._check(await self._run_in_time(self._send_with_any_key())))

    async def create(self, read: Callable[[object], T], *, with_any_key: bool = False) -> T:
        """Send a request that creates a resource; return what `read` makes of the JSON value of the response.

        An error is final if the resource may exist, also because the response to the request cannot be read.
        """
        with _marking_uncertain(self.request):
            return read(await (self.fetch_with_any_key() if with_any_key else self.fetch()))

    async def delete(self) -> None:
        """Send a DELETE. NotFoundError, unless an earlier try may have deleted the resource."""
        try:
            response = self._check(await self._run_in_time(self._send()))
        except NotFoundError:
            if self.tries > 1:
                return
            raise
        value = self._read(response) if response.body else None
        if isinstance(value, dict) and value.get("deleted") is False:
            raise unreadable(self._provider, "that nothing was deleted")

    async def open_stream(self) -> tuple[UpstreamResponse, Callable[[], None]]:
        """Send the request; return the response, its body still unread, and a function to call after reading it.

        The response to a range beyond the end of the file (416) is returned like a successful one.
        """
        key = self.key
        self._ring.take(key)
        try:
            response = await self._run_in_time(self._open())
        except BaseException:
            self._ring.give_back(key)
            raise

        def done() -> None:
            self._account.shares.give(self.request.tenant)
            self._ring.give_back(key)

        try:
            if response.status != _BEYOND_END:
                self._check(response)
        except BaseException:
            done()
            raise
        return response, done

    async def undo_unless(self, stored: Awaitable[object]) -> None:
        """Await `stored`, which stores the owner of a new resource; if that fails, send this DELETE.

        No caller could access a resource without an owner.
        """
        try:
            await stored
        except BerthError as error:
            if error.code != ID_TAKEN:  # then the id belongs to another resource
                with suppress(BerthError):
                    await self.delete()
            raise

    def complete(self, answer: Answer, options: Options) -> Answer:
        """Set the `extra_fields` of `answer`: provider, latency and, if requested, the raw request and response."""
        extra = answer.extra_fields
        extra.provider = self._account.provider
        extra.upstream_latency = int(self.seconds * 1000)
        if options.raw_request:
            extra.raw_request.CopyFrom(redacted_value(self._describe_request(), self._secrets()))
        if options.raw_response:
            extra.raw_response.CopyFrom(redacted_value(self.value, self._secrets()))
        return answer

    def _describe_request(self) -> dict[str, object]:
        """Return the request as it is shown in `raw_request`; an upload by its name and type instead of its bytes."""
        request = self.request
        sent: dict[str, object] = {"method": request.method, "path": request.path}
        if request.query:
            sent["query"] = request.query
        if request.form is not None:
            sent["body"] = request.form.describe()
        elif request.body is not None:
            sent["body"] = orjson.loads(request.body)
        return sent

    def _secrets(self) -> frozenset[str]:
        return self._account.secrets | self.request.secrets | {self.key.value}

    async def _send_with_any_key(self) -> UpstreamResponse:
        """Try keys until one is neither refused nor rate limited; once, wait for the last one if it asks for that."""
        spent, limited, waited = set[str](), None, False
        while True:
            response = await self._send()
            if response.status not in REFUSED_KEY | {_TOO_MANY}:
                return response
            limited = response if response.status == _TOO_MANY else limited
            spent.add(self.key.name)
            if self._ring.has_other(spent, self.key.tenant):
                self.key = self._ring.choose(spent, self.key.tenant)
            elif response is limited and not waited and _is_short(response.retry_after):
                waited = True
                await self._account.sleep(response.retry_after or 0)
            else:
                return limited or response

    async def _send(self) -> UpstreamResponse:
        key = self.key
        self._ring.take(key)
        try:
            async with self._account.shares.connection(self.request.tenant):
                return await self._send_with_retries()
        finally:
            self._ring.give_back(key)

    async def _open(self) -> UpstreamResponse:
        """Send the request, and hold a connection of the tenant's share if there is a response."""
        await self._account.shares.take(self.request.tenant)
        try:
            return await self._send_with_retries()
        except BaseException:
            self._account.shares.give(self.request.tenant)
            raise

    async def _send_with_retries(self) -> UpstreamResponse:
        response = await self._account.retries.run(self._try_once, repeatable=self.request.is_repeatable)
        if response.status in REFUSED_KEY and self.key in self._ring:
            self._ring.put_aside(self.key, status=response.status)
        return response

    async def _try_once(self) -> UpstreamResponse:
        started = perf_counter()
        self.tries += 1
        try:
            return await self._account.http.send(self.request, self.key)
        finally:
            self.seconds += perf_counter() - started

    async def _run_in_time(self, work: Awaitable[T]) -> T:
        seconds, form = self._account.timeout_seconds, self.request.form
        with _marking_uncertain(self.request), translated(self._provider):
            async with asyncio.timeout(seconds) as timeout:
                if form is not None:
                    form.limit_waits(timeout, seconds=seconds)
                return await work

    def _check(self, response: UpstreamResponse) -> UpstreamResponse:
        """Return a successful response; raise the core error of any other."""
        if response.is_good:
            if self.request.form is not None and not self.request.form.is_sent:
                raise unreadable(self._provider, "before it had the whole file")
            return response
        configured = not self.key.is_callers
        if configured and response.status in REFUSED_KEY:
            raise self._ring.exhausted()
        error = refusal(response, provider=self._provider, direct=not configured, secrets=self._secrets())
        error.is_final = response.status in _GATEWAY_ERRORS and not self.request.is_repeatable
        raise error

    def _read(self, response: UpstreamResponse) -> object:
        """Return the JSON value of a successful response. UpstreamError if it is not JSON, or has an error."""
        try:
            self.value = value = response.json()
        except ValueError:
            raise unreadable(self._provider, "with something that is not JSON") from None
        if isinstance(value, dict) and value.get("error") and "id" not in value:
            message = error_details_of(value, self._secrets()).message
            text = f"{self._provider} answered with an error{f': {message}' if message else '.'}"
            raise UpstreamError(text, code=SERVER_ERROR, provider=self._provider)
        return self._account.dialect.read(value)


@contextmanager
def _marking_uncertain(request: UpstreamRequest) -> Iterator[None]:
    """Set `is_final` on errors after which the provider may have done the work: clients would retry a 503 or 504."""
    try:
        yield
    except BerthError as error:
        fault = error.__cause__
        is_sent = fault is not None and not isinstance(fault, NOTHING_SENT)
        is_uncertain = is_sent or isinstance(error, UnreadableAnswerError)
        error.is_final = error.is_final or (is_uncertain and not request.is_repeatable)
        raise


def _is_short(seconds: float | None) -> bool:
    return seconds is not None and seconds <= MAX_CREATE_WAIT_SECONDS
