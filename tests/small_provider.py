"""A provider of containers that behaves: just enough of its API for callers who tell keys apart."""

from itertools import count

from misbehaving import Behaviour, Exchange, answer
from provider_faults import CONTAINER, WRONG_KEY

WRONG = "sk-wrong"
"""The key that it does not know."""

_ABSENT = {"message": "No such container.", "type": "invalid_request_error", "param": None, "code": None}


def small_provider() -> Behaviour:
    """Create, retrieve and delete containers; each is seen with the key that made it and no other."""
    kept: dict[tuple[str, str], object] = {}
    numbers = count(1)

    async def behave(exchange: Exchange) -> None:
        call = exchange.received
        key = call.headers.get("authorization", "")
        place = key, call.path.rpartition("/")[2]
        if key == f"Bearer {WRONG}":
            await answer(401, WRONG_KEY)(exchange)
        elif call.method == "POST":
            container = CONTAINER | {"id": f"cntr_{next(numbers):048x}"}
            kept[key, str(container["id"])] = container
            await answer(200, container)(exchange)
        elif place not in kept:
            await answer(404, {"error": _ABSENT})(exchange)
        elif call.method == "DELETE":
            del kept[place]
            await answer(200, {"id": place[1], "object": "container.deleted", "deleted": True})(exchange)
        else:
            await answer(200, kept[place])(exchange)

    return behave
