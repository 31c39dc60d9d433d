"""Clients that share a few containers and record each call: its begin, its end and its answer."""

import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import count
from math import inf
from typing import Any

import httpx2

from support.measuring.histories import GONE, Step

OK, NOT_FOUND, CONFLICT = 200, 404, 409
NO_OUTCOME = {500, 502, 503, 504}
"""Statuses that leave it open whether a call was executed."""
SHARED = 3
"""How many containers there are at a time."""
MAX_FILES = 40


class Shared:
    """The containers and files that clients know of, by id, and the recorded steps of each container."""

    def __init__(self) -> None:
        self.steps: dict[str, list[Step]] = defaultdict(list)
        self.containers: dict[str, dict[str, str]] = {}
        self.numbers = count()
        self.lock = threading.Lock()

    def note(self, container: str, step: Step) -> None:
        """Record a step; it is called from several threads."""
        with self.lock:
            self.steps[container].append(step)


class Recorder:
    """A client of random calls; each new container is created with an idempotency key until its outcome is known."""

    def __init__(self, shared: Shared, rest: str, headers: Mapping[str, str], seed: int) -> None:
        self._shared = shared
        self._dice = random.Random(seed)  # noqa: S311 - no secrets
        self._http = httpx2.Client(base_url=f"{rest}/v1", headers=headers, timeout=60)

    def run(self, ended: threading.Event) -> None:
        """Work until `ended`."""
        with self._http:
            while not ended.is_set():
                self._step()

    def _step(self) -> None:
        known = list(self._shared.containers)
        if len(known) < SHARED:
            self._create()
            return
        container = self._dice.choice(known)
        files = self._shared.containers.get(container, {})
        kinds = ["upload"] * 4 + ["list"] * 4 + ["retrieve", "delete file", "read", "read"]
        kind = self._dice.choice(kinds) if self._dice.randrange(80) and len(files) < MAX_FILES else "delete"
        if kind == "upload":
            self._upload(container, files)
        elif kind in ("read", "delete file") and files:
            self._of_file(kind, container, self._dice.choice(list(files)), files)
        elif kind in ("list", "retrieve", "delete"):
            self._of_container(kind, container)

    def _create(self) -> None:
        name = f"c{next(self._shared.numbers)}"
        headers, begin = {"idempotency-key": f"history {name}"}, time.monotonic()
        while True:
            answer = self._sent("POST", "/containers", json={"name": name}, headers=headers)
            if answer is not None and answer.status_code == OK:
                break
            assert answer is None or answer.status_code in {CONFLICT, *NO_OUTCOME}
            time.sleep(float(answer.headers.get("retry-after", 0.2)) if answer is not None else 0.2)
        container = answer.json()["id"]
        self._shared.note(container, Step("create", begin, time.monotonic(), answer="ok"))
        self._shared.containers[container] = {}

    def _upload(self, container: str, files: dict[str, str]) -> None:
        name = f"f{next(self._shared.numbers)}"
        path, begin = f"/containers/{container}/files", time.monotonic()
        answer = self._sent("POST", path, params={"filename": name}, content=name.encode())
        self._note("upload", container, begin, answer, lambda _: "ok", name)
        if answer is not None and answer.status_code == OK:
            files[name] = answer.json()["id"]

    def _of_file(self, kind: str, container: str, name: str, files: dict[str, str]) -> None:
        if (file := files.get(name)) is None:
            return
        path, begin = f"/containers/{container}/files/{file}", time.monotonic()
        if kind == "read":
            answer = self._sent("GET", f"{path}/content")
            self._note(kind, container, begin, answer, lambda answer: _checked(answer, name), name)
            return
        answer = self._sent("DELETE", path)
        self._note(kind, container, begin, answer, lambda _: "ok", name)
        if answer is not None and answer.status_code in (OK, NOT_FOUND):
            files.pop(name, None)

    def _of_container(self, kind: str, container: str) -> None:
        path, begin = f"/containers/{container}", time.monotonic()
        if kind == "list":
            answer = self._sent("GET", f"{path}/files", params={"limit": 100})
            self._note(kind, container, begin, answer, _names)
            return
        answer = self._sent("DELETE" if kind == "delete" else "GET", path)
        self._note(kind, container, begin, answer, lambda _: "ok")
        if kind == "delete" and answer is not None and answer.status_code in (OK, NOT_FOUND):
            self._shared.containers.pop(container, None)

    def _sent(self, method: str, path: str, **parts: Any) -> httpx2.Response | None:
        """Send a request once; return its answer, None if it is not known whether it was executed."""
        try:
            answer = self._http.request(method, path, **parts)
        except httpx2.TransportError:
            return None
        if answer.status_code in NO_OUTCOME:
            time.sleep(0.02)
        return answer

    def _note(
        self,
        kind: str,
        container: str,
        begin: float,
        answer: httpx2.Response | None,
        read: Callable[[httpx2.Response], Any],
        file: str = "",
    ) -> None:
        """Record a call; one that failed may have its effect later, or never."""
        end, result = time.monotonic(), None
        if answer is None or answer.status_code in NO_OUTCOME:
            end = inf
        else:
            result = GONE if answer.status_code == NOT_FOUND else read(answer.raise_for_status())
        self._shared.note(container, Step(kind, begin, end, file, result))


def _names(answer: httpx2.Response) -> frozenset[str]:
    """Return the names of the files in a list."""
    body = answer.json()
    assert not body["has_more"]
    return frozenset(file["path"].rpartition("-")[2] for file in body["data"])


def _checked(answer: httpx2.Response, name: str) -> str:
    assert answer.content == name.encode()
    return "ok"
