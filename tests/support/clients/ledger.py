"""What clients were answered, and what must therefore be in the store: effects of successes, and no others."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2
from openai import OpenAI, OpenAIError

UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Errors of tries that cannot have reached the server: there was no connection."""
SUCCESS = 200


class Attempts(httpx2.HTTPTransport):
    """A transport that notes how each try of a call ended: with a status, or the name of an error.

    Unless it `keeps` connections, each try opens one of its own.
    """

    def __init__(self, *, keeps: bool) -> None:
        super().__init__(limits=httpx2.Limits(max_keepalive_connections=10 if keeps else 0))
        self.ends: list[int | str] = []
        self.unknown = 0  # tries without an answer that may have reached the server

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and read the whole answer: one that breaks off is a try without an answer."""
        try:
            response = super().handle_request(request)
            content = b"".join(response.iter_raw())
        except httpx2.TransportError as error:
            self.ends.append(type(error).__name__)
            self.unknown += not isinstance(error, UNSENT)
            raise
        self.ends.append(response.status_code)
        return httpx2.Response(response.status_code, headers=response.headers, content=content)

    def restart(self) -> None:
        """Forget the tries of the last call."""
        self.ends, self.unknown = [], 0


@dataclass
class Bounds:
    """How often something may have happened: at least for a success, and once more for each try without an answer."""

    least: int = 0
    most: int = 0


@dataclass
class Ledger:
    """The calls of all clients. `creates` are bounds by unique name, `deletes` by id, of which `names` has the name."""

    creates: dict[str, Bounds] = field(default_factory=dict)
    deletes: dict[str, Bounds] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    ends: Counter[int | str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    unknown: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, kind: str, bounds: Bounds, attempts: Attempts, *, error: str | None, once: bool) -> None:
        """Note how a call ended; with `once`, an idempotency key makes all its tries one."""
        is_done = error is None
        bounds.least += is_done
        bounds.most += max(is_done, min(attempts.unknown, 1)) if once else is_done + attempts.unknown
        with self.lock:
            self.calls[kind] += 1
            self.ends.update(attempts.ends)
            self.failed[error or ""] += 1
            self.unknown += not is_done and attempts.unknown > 0

    def contradictions(self, present: Mapping[str, str]) -> list[str]:
        """Return what contradicts the answers in the store, of which `present` has the name of each id."""
        found = Counter(present.values()) + Counter(self.names[gone] for gone in self.deletes.keys() - present.keys())
        wrong = [
            f"{name} was created {found[name]} times, not {bounds.least} to {bounds.most} times"
            for name, bounds in self.creates.items()
            if not bounds.least <= found[name] <= bounds.most
        ]
        wrong += [f"{name} was created by no call" for name in found.keys() - self.creates.keys()]
        for id_, bounds in self.deletes.items():
            if id_ in present and bounds.least:
                wrong.append(f"{id_} was deleted, and exists")
            if id_ not in present and not bounds.most:
                wrong.append(f"{id_} was not deleted, and does not exist")
        return wrong


class Client:
    """OpenAI's SDK with its own retries, of which every call is noted in a ledger."""

    def __init__(self, ledger: Ledger, url: str, key: str, *, keeps_connections: bool) -> None:
        self._ledger = ledger
        self._attempts = Attempts(keeps=keeps_connections)
        self._http = httpx2.Client(transport=self._attempts, timeout=60)
        self.sdk = OpenAI(base_url=f"{url}/v1", api_key=key, http_client=self._http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.sdk.close()

    def create(self, kind: str, name: str, call: Callable[[], str], *, once: bool = False) -> str | None:
        """Create what is called `name`; return the id that `call` returns, None if it fails."""
        made: str | None = self._noted(kind, self._ledger.creates.setdefault(name, Bounds()), call, once=once)
        return made

    def delete(self, kind: str, id_: str, name: str, call: Callable[[], object]) -> bool:
        """Delete what has an id; return whether it certainly is deleted."""
        self._ledger.names[id_] = name
        bounds = self._ledger.deletes.setdefault(id_, Bounds())
        return self._noted(kind, bounds, lambda: (call(), id_)[1], once=True) is not None

    def read(self, kind: str, call: Callable[[], Any]) -> Any:
        """Make a call without an effect; return what `call` returns, None if it fails."""
        return self._noted(kind, Bounds(), call, once=True)

    @property
    def tries(self) -> int:
        """How many tries of the present call have ended."""
        return len(self._attempts.ends)

    def _noted(self, kind: str, bounds: Bounds, call: Callable[[], Any], *, once: bool) -> Any:
        self._attempts.restart()
        result, error = None, None
        try:
            result = call()
        except OpenAIError as raised:
            error = type(raised).__name__
        self._ledger.note(kind, bounds, self._attempts, error=error, once=once)
        return result
