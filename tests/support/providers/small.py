"""A provider of containers and files that behaves: just enough of its API for callers who tell keys apart."""

import json
from itertools import count

from support.providers.faults import CONTAINER, WRONG_KEY
from support.providers.raw import Behaviour, Exchange, Received, answer

WRONG = "sk-wrong"
"""The key that it does not know."""

FILE = {
    "object": "file",
    "bytes": 1,
    "created_at": 1_700_000_000,
    "filename": "x",
    "purpose": "batch",
    "status": "processed",
}
_ABSENT = {"message": "No such container.", "type": "invalid_request_error", "param": None, "code": None}


def new(path: str, number: int) -> dict[str, object]:
    """Return what a POST to `path` makes."""
    return (
        FILE | {"id": f"file-{number:024x}"} if path.endswith("/files") else CONTAINER | {"id": f"cntr_{number:048x}"}
    )


def _file_ids(call: Received) -> list[str]:
    is_json = call.headers.get("content-type") == "application/json"
    return json.loads(call.body).get("file_ids", []) if is_json else []


def small_provider() -> Behaviour:
    """Create, retrieve, list and delete containers and files; each is seen with the key that made it and no other."""
    kept: dict[tuple[str, str], dict[str, object]] = {}
    numbers = count(1)

    async def behave(exchange: Exchange) -> None:
        call = exchange.received
        key = call.headers.get("authorization", "")
        place = key, call.path.rpartition("/")[2]
        if key == f"Bearer {WRONG}":
            await answer(401, WRONG_KEY)(exchange)
        elif call.method == "POST" and any((key, file_id) not in kept for file_id in _file_ids(call)):
            await answer(400, {"error": _ABSENT | {"param": "file_ids[0]"}})(exchange)
        elif call.method == "POST":
            made = new(call.path, next(numbers))
            kept[key, str(made["id"])] = made
            await answer(200, made)(exchange)
        elif place[1] in {"containers", "files"}:
            owned = [made for (owner, _), made in kept.items() if owner == key]
            data = [made for made in owned if f"{made['object']}s" == place[1]]
            await answer(200, {"object": "list", "data": data, "has_more": False})(exchange)
        elif place not in kept:
            await answer(404, {"error": _ABSENT})(exchange)
        elif call.method == "DELETE":
            del kept[place]
            await answer(200, {"id": place[1], "object": "container.deleted", "deleted": True})(exchange)
        else:
            await answer(200, kept[place])(exchange)

    return behave
