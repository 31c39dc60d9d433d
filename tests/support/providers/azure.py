"""Azure's side of its containers and files APIs: a server that looks closely at how it is asked, before a hosted Berth.

What it minds is its paths, its header for keys and its version in the query; and
it has no list of containers. The containers themselves are those of the Berth.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from support.servers.chain import UPSTREAM_KEY

AZURE_KEY = "azure-key-of-the-gateway"
_CONTAINERS = "/openai/v1/containers"
_FILES = r"files(/[^/]+(/content)?)?"
_PATH = re.compile(rf"/openai/v1/{_FILES}|{_CONTAINERS}(/[^/]+(/{_FILES})?)?")
_SENT_ON = ("content-type", "range", "x-request-id")
_SENT_BACK = (
    "content-type",
    "content-disposition",
    "content-length",
    "content-range",
    "x-content-sha256",
    "x-request-id",
)


class StrictAzure:
    """The server: where it is, what it was asked, and what it found wrong with that."""

    def __init__(self, hosted: str, api_version: str | None) -> None:
        self.calls: list[str] = []
        self.complaints: list[str] = []
        self.url = ""
        self._hosted, self._api_version = hosted, api_version

    def complaint(self, request: web.Request) -> str | None:
        """Return what Azure would mind in a request."""
        if not _PATH.fullmatch(request.raw_path.partition("?")[0]):
            return f"no such path: {request.raw_path}"
        if (request.method, request.path) == ("GET", _CONTAINERS):
            return "Azure has no list of containers"
        if request.headers.getall("api-key", []) != [AZURE_KEY] or "authorization" in request.headers:
            return "the key belongs into api-key, alone"
        if request.query.get("api-version") != self._api_version:
            return f"api-version {request.query.get('api-version')} instead of {self._api_version}"
        return None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        self.calls.append(f"{request.method} {request.raw_path}")
        if complaint := self.complaint(request):
            self.complaints.append(complaint)
            error = {"message": complaint, "type": "invalid_request_error", "param": None, "code": "404"}
            return web.json_response({"error": error}, status=404)
        async with aiohttp.ClientSession(auto_decompress=False) as session, self._asked(session, request) as answer:
            headers = _only(answer.headers, _SENT_BACK)
            if "x-content-length" in answer.headers:
                headers["content-length"] = answer.headers["x-content-length"]
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response

    def _asked(self, session: aiohttp.ClientSession, request: web.Request) -> "aiohttp.client._RequestContextManager":
        """Ask the Berth behind."""
        path, _, query = request.raw_path.partition("?")
        kept = "&".join(part for part in query.split("&") if not part.startswith("api-version="))
        headers = _only(request.headers, _SENT_ON) | {"authorization": f"Bearer {UPSTREAM_KEY}"}
        url = f"{self._hosted}{path.removeprefix('/openai')}{'?' + kept if kept else ''}"
        body = request.content if request.can_read_body else None
        return session.request(request.method, url, data=body, headers=headers, skip_auto_headers=("content-type",))


def _only(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    return {name: headers[name] for name in names if name in headers}


@asynccontextmanager
async def strict_azure(hosted: str, api_version: str | None = None) -> AsyncIterator[StrictAzure]:
    """Run the server before the Berth whose REST is at `hosted`; it asks for `api_version`, or for none."""
    azure = StrictAzure(hosted, api_version)
    application = web.Application()
    application.router.add_route("*", "/{rest:.*}", azure.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        azure.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield azure
    finally:
        await runner.cleanup()
