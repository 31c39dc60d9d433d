"""A provider that answers like OpenAI's schema for any id, and counts what it is asked."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

from aiohttp import web

from support.providers.scripted import CONTAINER, FILE

CONTENT = b"a,b\n1,2\n"
LOOSE: dict[str, object] = {
    "object": "file",
    "bytes": len(CONTENT),
    "created_at": 1_700_000_000,
    "filename": "a.csv",
    "purpose": "assistants",
    "status": "processed",
}


class Asked(NamedTuple):
    """A call as it arrived: its method, its path with the query, and the key."""

    method: str
    target: str
    key: str


@dataclass
class Plain:
    """The provider: its URL, what it was asked and with which headers, and the ids that it does not have for a key."""

    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    foreign: dict[str, str] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)
    extra: dict[str, object] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one call."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.asked.append(Asked(request.method, request.raw_path, key))
        self.headers.append(request.headers)
        self.bodies.append(await request.read())
        steps = request.path.removeprefix("/v1/").split("/")
        ids = {*steps[1::2]}
        if ids & self.missing or any(self.foreign.get(found, key) != key for found in ids):
            error = {"message": "Not here.", "type": "invalid_request_error", "param": None, "code": "gone"}
            return web.json_response({"error": error}, status=404)
        if steps[-1] == "content":
            return web.Response(body=CONTENT, content_type="text/csv")
        return web.json_response(self._value(request.method, steps))

    def _value(self, method: str, steps: list[str]) -> dict[str, object]:
        """Return what is asked for: `steps` are those of the path, in turn collections and ids."""
        kind, is_list = ".".join(step.rstrip("s") for step in steps[::2]), len(steps) % 2 == 1
        form = {"container": CONTAINER, "container.file": FILE, "file": LOOSE}[kind] | self.extra
        if is_list and method == "GET":
            item = form | {"id": f"{kind}-listed"}
            return {"object": "list", "data": [item], "first_id": item["id"], "last_id": item["id"], "has_more": False}
        found = f"{kind}-{next(self._numbers)}" if is_list else steps[-1]
        if method == "DELETE":
            return {"id": found, "object": f"{kind}.deleted" if "container" in kind else kind, "deleted": True}
        return form | {"id": found} | ({"container_id": steps[1]} if kind == "container.file" else {})


@asynccontextmanager
async def plain_provider() -> AsyncIterator[Plain]:
    """Run the provider on a free port of 127.0.0.1."""
    plain = Plain()
    application = web.Application(client_max_size=1 << 24)
    application.router.add_route("*", "/{path:.*}", plain.answer)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        plain.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield plain
    finally:
        await runner.cleanup()
