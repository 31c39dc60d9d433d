"""A fast provider for the benchmarks, which answers every request with the same container."""

import sys

from aiohttp import web

CONTAINER = {
    "id": f"cntr_{'0' * 48}",
    "object": "container",
    "name": "bench",
    "created_at": 1_795_299_662,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": 1_795_299_662,
    "memory_limit": "1g",
}


async def answer(_: web.Request) -> web.Response:
    """Return the container."""
    return web.json_response(CONTAINER)


if __name__ == "__main__":
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
