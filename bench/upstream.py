"""A provider that answers each request at once, with what the contract says, and keeps nothing."""

import asyncio
import json
import re
import secrets
from collections.abc import Mapping

import httptools

CONTAINER = {
    "object": "container",
    "name": "bench",
    "created_at": 1_795_299_662,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": 1_795_299_662,
    "memory_limit": "1g",
}
FILE = {"object": "container.file", "path": "/mnt/data/a", "bytes": 5, "created_at": 1_795_299_662, "source": "user"}
PATH = re.compile(r"/v1/containers(?:/(?P<container>\w+))?(?P<files>/files)?(?:/(?P<file>\w+))?(?P<content>/content)?")


def answer(method: str, path: str) -> bytes:
    """Return the body of an answer; ids in a path are those of what is returned."""
    found = PATH.match(path)
    assert found is not None, path
    if found["content"]:
        return b"hello"
    kind, prefix = (FILE, "cfile_") if found["files"] else (CONTAINER, "cntr_")
    known = found["file"] if found["files"] else found["container"]
    item: Mapping[str, object] = {"id": known or f"{prefix}{secrets.token_hex(24)}", **kind}
    if found["files"]:
        item = {**item, "container_id": found["container"]}
    if method == "DELETE":
        item = {"id": item["id"], "object": f"{kind['object']}.deleted", "deleted": True}
    elif method == "GET" and not known:
        item = {"object": "list", "data": [item], "first_id": item["id"], "last_id": item["id"], "has_more": False}
    return json.dumps(item).encode()


class Connection(asyncio.Protocol):
    """Answers the requests of one connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._parser = transport, httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Read on."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Keep the path of a request."""
        self._path = url.decode()

    def on_message_complete(self) -> None:
        """Answer a request."""
        body = answer(self._parser.get_method().decode(), self._path)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def main() -> None:
    """Serve, and print where."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"rest": f"http://127.0.0.1:{port}"}), flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
