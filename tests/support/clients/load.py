"""Clients that create, upload, read, list and delete without a pause; they note each answer and what it promises."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2

OK, NOT_FOUND = 200, 404
CONTENT = b"acknowledged" * 10


@dataclass(frozen=True)
class Refused:
    """An answer that was not 200: what a client has to know of it."""

    status: int
    code: str | None
    retry_after: str | None


@dataclass
class Load:
    """What was answered: `present` has the files of each container, and `gone` the deleted containers."""

    rest: str
    headers: Mapping[str, str]
    present: dict[str, list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    refused: Counter[Refused] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    succeeded: int = 0
    last_failure: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Work until `ended`."""
        with httpx2.Client(base_url=f"{self.rest}/v1", headers=self.headers, timeout=60) as client:
            while not self.ended.is_set():
                self._round(client)

    def _round(self, client: httpx2.Client) -> None:
        if (made := self._answered(client, "POST", "/containers", json={"name": "load"})) is None:
            return
        container = made["id"]
        files = self.present[container] = []
        path = f"/containers/{container}/files"
        if file := self._answered(client, "POST", path, params={"filename": "x"}, content=CONTENT):
            files.append(file["id"])
        self._answered(client, "GET", f"/containers/{container}")
        self._answered(client, "GET", path)
        if len(self.present) % 2:
            del self.present[container]  # until the answer it may be there or not
            if self._answered(client, "DELETE", f"/containers/{container}"):
                self.gone.add(container)

    def _answered(self, client: httpx2.Client, method: str, path: str, **body: Any) -> dict[str, Any] | None:
        """Make a call; return the JSON of a success, None for a failure, which is noted."""
        try:
            answer = client.request(method, path, **body)
        except httpx2.TransportError as error:
            self._note_failure()
            self.lost[type(error).__name__] += 1
            return None
        if answer.status_code == OK:
            self.succeeded += 1
            found: dict[str, Any] = answer.json()
            return found
        self._note_failure()
        self.refused[Refused(answer.status_code, code_of(answer), answer.headers.get("retry-after"))] += 1
        return None

    def _note_failure(self) -> None:
        self.last_failure = time.monotonic()
        self.ended.wait(0.02)  # a refusal takes no time: without this they would be all that happens

    def contradictions(self) -> list[str]:
        """Return what contradicts the answers: acknowledged containers and files without content, and deleted ones."""
        wrong = []
        with httpx2.Client(base_url=f"{self.rest}/v1", headers=self.headers, timeout=60) as client:
            for container, files in self.present.items():
                if client.get(f"/containers/{container}").status_code != OK:
                    wrong.append(f"{container} is lost")
                paths = [f"/containers/{container}/files/{file}/content" for file in files]
                wrong += [f"{path} is lost" for path in paths if client.get(path).content != CONTENT]
            deleted = (id_ for id_ in self.gone if client.get(f"/containers/{id_}").status_code != NOT_FOUND)
            wrong += [f"{container} was deleted, and exists" for container in deleted]
        return wrong


def code_of(answer: httpx2.Response) -> str | None:
    """Return the code of an error, None if it has none."""
    try:
        code: str | None = answer.json()["error"]["code"]
    except (ValueError, LookupError):
        return None
    return code


@contextmanager
def loaded(rest: str, headers: Mapping[str, str], clients: int = 4) -> Iterator[list[Load]]:
    """Run some clients for as long as the context lasts; a test ends them earlier if it sets `ended`."""
    loads = [Load(rest, headers) for _ in range(clients)]
    threads = [threading.Thread(target=load.run) for load in loads]
    for thread in threads:
        thread.start()
    try:
        yield loads
    finally:
        for load in loads:
            load.ended.set()
        for thread in threads:
            thread.join()
