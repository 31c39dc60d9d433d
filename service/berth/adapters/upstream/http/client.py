"""HTTP to one provider: a pool of connections, one attempt at a time, bounded answers.

Whether an attempt is repeated is the business of `retries`, what an
answer means that of `errors` and `answers`.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from structlog.typing import FilteringBoundLogger
from yarl import URL

from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.http.form import UploadForm
from berth.adapters.upstream.http.response import UpstreamResponse
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.core.ports.metrics import Metrics

_READ_BUFFER_BYTES = 256 * 1024
"""How much of an answer may wait here; a download stops reading beyond it."""
_OWN_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "berth"}


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """What is to be sent: `path` and `query` are escaped; of `body` and `form` at most one is set.

    `streamed` asks for the body of a good answer as a stream; `secrets` are
    what must not be seen of the request beside the key.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    form: UploadForm | None = None
    streamed: bool = False
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def is_repeatable(self) -> bool:
        """Whether sending it twice does no more than sending it once."""
        return self.method != "POST"


class UpstreamHttp:
    """Connections to one provider, opened when they are first needed."""

    def __init__(
        self, settings: UpstreamSettings, *, provider: str, log: FilteringBoundLogger, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._log = log.bind(provider=provider)
        self._metrics = metrics
        self._root = settings.root
        self._query = f"api-version={settings.api_version}" if settings.api_version else ""
        # Whoever sends an order bounds the whole of it; of what is streamed, that is only the beginning.
        connect, read = settings.connect_seconds, settings.timeout_seconds
        self._timeout = ClientTimeout(total=None, sock_connect=connect)
        self._stream_timeout = ClientTimeout(total=None, sock_connect=connect, sock_read=read)
        self._session: ClientSession | None = None

    async def open(self) -> ClientSession:
        """Return the session. OSError, once, if the authorities to trust cannot be read."""
        if self._session is None:
            settings = self._settings
            trusted = ssl.create_default_context()
            if settings.ca_file is not None:
                trusted.load_verify_locations(settings.ca_file)
            self._session = ClientSession(
                connector=TCPConnector(limit=settings.max_connections, ssl=trusted),
                timeout=self._timeout,
                headers=_OWN_HEADERS | dict(settings.extra_headers),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                proxy=settings.proxy,
                read_bufsize=_READ_BUFFER_BYTES,
            )
            # It would send a GET or DELETE again by itself where a connection broke, and nobody would count it. What is
            # sent again is decided in one place, and that is not here. There is no public way to say so.
            self._session._retry_connection = False  # noqa: SLF001
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: UpstreamRequest, key: UpstreamKey) -> UpstreamResponse:
        """Send `request` once and return what came back, whatever its status.

        What goes wrong on the way is an error of aiohttp's; what goes wrong with
        the upload that is being sent is that error itself. UpstreamError for an
        answer that is larger than it may be, or encoded in a way that was not asked for.
        """
        started, status = perf_counter(), 0
        try:
            response = await self._request(request, key)
            status = response.status
            try:
                return await self._response(request, response)
            except BaseException:
                response.close()
                raise
        except ClientError:
            if request.form is not None and request.form.failure is not None:
                raise request.form.failure from None
            raise
        finally:
            self._record(request, status, perf_counter() - started)

    async def _request(self, request: UpstreamRequest, key: UpstreamKey) -> ClientResponse:
        name, credential = self._settings.dialect.credential(key)
        headers = {**request.headers, name: credential}
        if request.form is not None:
            headers["Content-Type"] = request.form.content_type
        elif request.body is not None:
            headers["Content-Type"] = "application/json"
        session = self._session or await self.open()
        data = request.body if request.form is None else request.form.parts()
        return await session.request(
            request.method,
            self._url(request),
            headers=headers,
            data=data,
            allow_redirects=False,
            timeout=self._stream_timeout if request.streamed else self._timeout,
        )

    def _url(self, request: UpstreamRequest) -> URL:
        query = "&".join(part for part in (request.query, self._query) if part)
        return URL(f"{self._root}{request.path}{'?' if query else ''}{query}", encoded=True)

    async def _response(self, request: UpstreamRequest, response: ClientResponse) -> UpstreamResponse:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise unreadable(self._provider, "in an encoding that was not asked for")
        if request.streamed and response.status in (200, 206):
            return UpstreamResponse(response.status, response.headers, stream=response)
        return UpstreamResponse(response.status, response.headers, await self._body(response))

    async def _body(self, response: ClientResponse) -> bytes:
        maximum, promised = self._settings.max_answer_bytes, response.content_length
        if promised is not None and promised <= maximum:
            return await response.content.read()
        body = bytearray()
        while promised is None and len(body) <= maximum:
            chunk = await response.content.readany()
            if not chunk:
                return bytes(body)
            body += chunk
        raise unreadable(self._provider, f"with more than {maximum} bytes")

    def _record(self, request: UpstreamRequest, status: int, seconds: float) -> None:
        self._metrics.try_ended(self._provider, status=status, seconds=seconds)
        self._log.debug("upstream.request", method=request.method, status=status, milliseconds=round(seconds * 1000, 3))
