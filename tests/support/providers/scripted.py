"""A provider on a loopback socket: it answers what it is told to, and keeps what it was asked."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from berth.adapters.upstream.settings import UpstreamKey
from support.servers.passthrough import Passthrough, passthrough

MAIN = UpstreamKey("main", "sk-main-secret")
CONTAINER: dict[str, object] = {
    "id": "cntr_1",
    "object": "container",
    "name": "box",
    "created_at": 1_700_000_000,
    "status": "running",
    "last_active_at": 1_700_000_000,
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "memory_limit": "4g",
    "network_policy": {"type": "allowlist", "allowed_domains": ["example.org"]},
}
FILE: dict[str, object] = {
    "id": "cfile_1",
    "object": "container.file",
    "container_id": "cntr_1",
    "path": "/mnt/data/a.txt",
    "bytes": 5,
    "created_at": 1_700_000_000,
    "source": "user",
}


@dataclass(frozen=True)
class ReceivedRequest:
    """A call as the provider saw it; `form` holds the parts of a form, by name: file name, type and content.

    `parts` are the names of all parts in their order, with their contents.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, tuple[str | None, str | None, bytes]]
    parts: Sequence[tuple[str, bytes]] = ()


Answer = web.StreamResponse | Exception
Behaviour = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Provided:
    """The provider: its script, one step for each call and the last for all that follow, and what it was asked."""

    port: int = 0
    script: list[Behaviour] = field(default_factory=list)
    asked: list[ReceivedRequest] = field(default_factory=list)

    def answers(self, *script: Behaviour) -> None:
        """Say what to answer from now on."""
        self.script = list(script)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep a call and answer it."""
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if not getattr(step, "reads_nothing", False):
            await self._keep(request)
        return await step(request)

    async def _keep(self, request: web.Request) -> None:
        form: dict[str, tuple[str | None, str | None, bytes]] = {}
        parts = list[tuple[str, bytes]]()
        if request.content_type == "multipart/form-data":
            async for part in await request.multipart():
                content = bytes(await part.read())  # type: ignore[union-attr] # the parts of a form are no forms
                form[part.name or ""] = (part.filename, part.headers.get("Content-Type"), content)  # type: ignore[union-attr]
                parts.append((part.name or "", content))  # type: ignore[union-attr]
        body = b"" if form else await request.read()
        self.asked.append(ReceivedRequest(request.method, request.raw_path, dict(request.headers), body, form, parts))


def answer(value: object = None, *, status: int = 200, **headers: str) -> Behaviour:
    """Answer with JSON, or with the very bytes that are given."""

    async def respond(_: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): text for name, text in headers.items()}
        if isinstance(value, bytes):
            return web.Response(body=value, status=status, headers=named)
        return web.json_response(value, status=status, headers=named)

    return respond


def refuse(status: int, message: str = "No.", **headers: Any) -> Behaviour:
    """Answer with an error of the API."""
    error = {"message": message, "type": "some_type", "param": "some_param", "code": "some_code"}
    return answer({"error": error}, status=status, **headers)


@asynccontextmanager
async def providing() -> AsyncIterator[Provided]:
    """Run a provider on a free port of 127.0.0.1."""
    provided = Provided(script=[answer(CONTAINER)])
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", provided.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provided.port = runner.addresses[0][1]
    try:
        yield provided
    finally:
        await runner.cleanup()


def passing(port: int, *keys: UpstreamKey, **options: Any) -> AbstractAsyncContextManager[Passthrough]:
    """Open a PassthroughBackend in front of the provider on `port`; see `passthrough`."""
    return passthrough(f"http://127.0.0.1:{port}/v1", *keys, **options)
