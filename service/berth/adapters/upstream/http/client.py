"""UpstreamHttp: sends single requests to one provider, with pooled connections and bounded responses.

Retries are decided in `retries`; responses are interpreted in `errors` and `answers`.
"""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, DummyCookieJar
from structlog.typing import FilteringBoundLogger
from yarl import URL

from berth.adapters.upstream.errors import unreadable
from berth.adapters.upstream.http.form import UploadForm
from berth.adapters.upstream.http.pacing import PacedConnector
from berth.adapters.upstream.http.response import UpstreamResponse, is_success
from berth.adapters.upstream.settings import UpstreamKey, UpstreamSettings
from berth.core.observation.spans import NO_TRACER, Kind, Tracer
from berth.core.ports.metrics import Metrics

_READ_BUFFER_BYTES = 256 * 1024
"""How much of a response is buffered at most; a download pauses beyond that."""
_FIRST_FAILURE = 400
"""The lowest status with which a request has failed for a client, as OpenTelemetry sees it."""
_OWN_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "berth"}


@dataclass(frozen=True, slots=True)
class UpstreamRequest:
    """A request to a provider: `path` and `query` are escaped; at most one of `body` and `form` is set.

    `tenant` is the tenant of the caller, who has a share of the connections. With
    `streamed` the body of a successful response is a stream; `secrets` are
    the values in the request, besides the key, that must not be shown.
    """

    method: str
    path: str
    query: str = ""
    tenant: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)
    form: UploadForm | None = None
    streamed: bool = False
    secrets: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def is_repeatable(self) -> bool:
        """Whether sending the request twice has the same effect as sending it once."""
        return self.method != "POST"


class UpstreamHttp:
    """The HTTP connections to one provider, opened on first use."""

    def __init__(
        self,
        settings: UpstreamSettings,
        *,
        provider: str,
        log: FilteringBoundLogger,
        metrics: Metrics,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._settings = settings
        self._provider = provider
        self._log = log.bind(provider=provider)
        self._metrics = metrics
        self._tracer = tracer
        self._server = _server_of(settings.root, provider)
        self._root = settings.root
        self._query = f"api-version={settings.api_version}" if settings.api_version else ""
        # Exchange limits the whole request. Of a stream, that is only the beginning, so each read has its own limit.
        connect, read = settings.connect_seconds, settings.timeout_seconds
        self._timeout = ClientTimeout(total=None, sock_connect=connect)
        self._stream_timeout = ClientTimeout(total=None, sock_connect=connect, sock_read=read)
        self._session: ClientSession | None = None

    async def open(self) -> ClientSession:
        """Return the session, created on the first call."""
        if self._session is None:
            settings = self._settings
            self._session = ClientSession(
                connector=PacedConnector(limit=settings.max_connections, ssl=_trusted(settings.authorities)),
                timeout=self._timeout,
                headers=_OWN_HEADERS | dict(settings.extra_headers),
                cookie_jar=DummyCookieJar(),
                auto_decompress=False,
                proxy=settings.proxy,
                read_bufsize=_READ_BUFFER_BYTES,
            )
            # aiohttp would resend a GET or DELETE after a broken connection, without counting it. Retries are decided
            # only in `retries`. There is no public option for this.
            self._session._retry_connection = False  # noqa: SLF001
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def send(self, request: UpstreamRequest, key: UpstreamKey) -> UpstreamResponse:
        """Send `request` once and return the response, whatever its status.

        Failures of the connection are errors of aiohttp; an error of the upload
        that is being sent is raised as it is. UpstreamError for a response that
        is too large, or has a content encoding that was not requested.
        """
        url = f"{self._root}{request.path}"  # without the query, in which names can be
        attributes = {**self._server, "http.request.method": request.method, "url.full": url}
        with self._tracer.part(request.method, attributes, kind=Kind.CLIENT) as span:
            response = await self._send(request, key)
            span.set("http.response.status_code", response.status)
            if response.status >= _FIRST_FAILURE:
                span.fail(str(response.status))
            return response

    async def _send(self, request: UpstreamRequest, key: UpstreamKey) -> UpstreamResponse:
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
        headers = {**self._tracer.headers(), **request.headers, name: credential}
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
        if request.streamed and is_success(response.status):
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


def _server_of(root: str, provider: str) -> dict[str, str | int]:
    """Return what spans say about the server of a provider."""
    url = URL(root)
    return {"berth.provider": provider, "server.address": url.host or "", "server.port": url.port or 0}


def _trusted(authorities: str | None) -> ssl.SSLContext | bool:
    """Return which certificates of a provider to accept; without `authorities` of its own, aiohttp has that at hand."""
    if authorities is None:
        return True
    context = ssl.create_default_context()  # which reads the authorities of the system: 30 to 50 ms
    context.load_verify_locations(cadata=authorities)
    return context
