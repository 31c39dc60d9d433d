"""Pulling the plug twice while containers and files come and go: what is counted agrees with the callers' own count."""

import json
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from support.measuring.soak import soak, times
from support.providers.raw import misbehaving
from support.providers.small import small_provider
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth, running, start
from support.servers.chain import passing_to
from support.servers.process import refused_berth

OPERATIONS = times(150, 1000)
PAUSE_SECONDS = times(0, 1)
"""Between two operations of a caller: the long form takes minutes, so that containers live for some."""
CALLERS = 6
HEADERS = {"authorization": f"Bearer {KEY_A}"}
LOST_SECONDS = times(3, 1)
"""What was counted is stored each second; a machine that runs other tests as well may be late."""
MINUTE = 60


@dataclass
class Lived:
    """Something that lived from one moment to another, each known to lie between two times."""

    size: int
    born: tuple[float, float]
    died: tuple[float, float] | None = None

    def seconds(self, now: float) -> tuple[float, float]:
        """Return for how many whole seconds it has lived, at least and at most, by a clock of whole seconds."""
        low, high = self.died or (now, now)
        return max(0, int(low) - int(self.born[1])), int(high) - int(self.born[0])


@dataclass
class Own:
    """What the callers know."""

    url: str
    boxes: dict[str, Lived] = field(default_factory=dict)
    files: dict[tuple[str, str], Lived] = field(default_factory=dict)
    passed: set[str] = field(default_factory=set)
    finished: list[float] = field(default_factory=list)
    unclear: list[tuple[float, float]] = field(default_factory=list)
    is_up: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Caller(threading.Thread):
    """Creates, uploads, deletes and reads, and finds out afterwards what became of a call that was cut off."""

    def __init__(self, own: Own, number: int) -> None:
        super().__init__()
        self.own = own
        self.number = number
        self.chance = random.Random(number)  # noqa: S311 - a test
        self.mine: dict[str, dict[str, int]] = {}

    def run(self) -> None:
        """Do this caller's part of the operations."""
        for step in range(OPERATIONS // CALLERS + 1):
            actions: list[Callable[[str], None]] = [self.create]
            if self.mine:
                actions += [self.upload, self.upload, self.delete, self.read]
            if any(self.mine.values()):
                actions.append(self.delete_file)
            self.chance.choice(actions)(f"{self.number}-{step}")
            time.sleep(PAUSE_SECONDS * self.chance.random() * 2)

    def call(self, method: str, path: str, **content: object) -> tuple[dict[str, object] | None, tuple[float, float]]:
        """Return the answer, None if the call was cut off, and between which times it was executed."""
        began = time.time()
        try:
            answer = httpx2.request(method, f"{self.own.url}{path}", headers=HEADERS, timeout=30, **content)  # type: ignore[arg-type] # as given
            body: dict[str, object] | None = answer.json() if answer.status_code in {200, 404} else None
        except httpx2.HTTPError:
            body = None
        if body is None:
            assert self.own.is_up.wait(60)
        elif "error" not in body:
            self.own.finished.append(time.time())
        return body, (began, time.time())

    def sure(self, path: str) -> dict[str, object]:
        """Return the answer to a GET, however often it is cut off."""
        while (body := self.call("GET", path)[0]) is None:
            pass
        return body

    def create(self, name: str) -> None:
        """Create a container, here or at the provider."""
        provider = self.chance.choice(["ollama", "ollama", "openai"])
        body, when = self.call("POST", "/v1/containers", json={"provider": provider, "name": name})
        if body is None:
            self.own.unclear.append(when)
            return
        self.own.boxes[str(body["id"])] = Lived(0, when)
        if provider == "openai":
            self.own.passed.add(str(body["id"]))
        else:
            self.mine[str(body["id"])] = {}

    def upload(self, name: str) -> None:
        """Upload a file, and look for it if the answer was cut off."""
        if self.mine:
            box, size = self.chance.choice(list(self.mine)), self.chance.randrange(1, 5000)
            path = f"/v1/containers/{box}/files"
            body, when = self.call("POST", f"{path}?filename={name}&file_path=/mnt/data/{name}", content=b"x" * size)
            if body is None:
                listed = self.sure(path)["data"]
                body = next((file for file in listed if file["path"].endswith(f"/{name}")), None)  # type: ignore[attr-defined]
            if body is not None:
                self.mine[box][str(body["id"])] = size
                self.own.files[box, str(body["id"])] = Lived(size, when)

    def delete(self, _: str) -> None:
        """Delete a container; repeat it if the answer was cut off."""
        boxes = [*self.mine, *(box for box in self.own.passed if self.own.boxes[box].died is None)]
        if boxes:
            with self.own.lock:
                box = self.chance.choice(boxes)
                if self.own.boxes[box].died is not None:
                    return
                when = self.gone(f"/v1/containers/{box}")
                self.own.boxes[box].died = when
            for file in self.mine.pop(box, {}):
                self.own.files[box, file].died = when

    def delete_file(self, _: str) -> None:
        """Delete a file; repeat it if the answer was cut off."""
        files = [(box, file) for box, kept in self.mine.items() for file in kept]
        if files:
            box, file = self.chance.choice(files)
            self.own.files[box, file].died = self.gone(f"/v1/containers/{box}/files/{file}")
            del self.mine[box][file]

    def gone(self, path: str) -> tuple[float, float]:
        """Delete something until it is gone; return between which times that was."""
        body, (began, ended) = self.call("DELETE", path)
        while body is None:
            body, (_, ended) = self.call("DELETE", path)
        return began, ended

    def read(self, _: str) -> None:
        """Retrieve a container."""
        if self.mine:
            self.sure(f"/v1/containers/{self.chance.choice(list(self.mine))}")


@contextmanager
def killed_twice(folder: Path, settings: dict[str, object], own: Own) -> Iterator[tuple[Berth, list[float]]]:
    """Run a Berth, kill it twice while the operations run, and start it again; yield the last one and the times."""
    kills, callers = [], [Caller(own, number) for number in range(CALLERS)]
    berth = start(folder, settings)
    own.url = berth.rest
    own.is_up.set()
    for caller in callers:
        caller.start()
    for part in (1, 2):
        while len(own.finished) < part * OPERATIONS // 4:
            time.sleep(0.005)
        own.is_up.clear()
        berth.process.send_signal(signal.SIGKILL)
        kills.append(time.time())
        berth.process.wait()
        assert berth.process.stdout is not None
        berth.process.stdout.close()
        if part == 1:
            berth = start(folder, settings)
            own.url = berth.rest
            own.is_up.set()
    with running(folder, settings) as last:
        own.url = last.rest
        own.is_up.set()
        for caller in callers:
            caller.join()
        yield last, kills


def unknown_boxes(own: Own) -> list[str]:
    """Return the containers that exist although no caller knows their ids: their creates were cut off."""
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = httpx2.get(
            f"{own.url}/v1/containers", headers=HEADERS, params={"limit": "100", **after}, timeout=30
        ).json()
        found += [box["id"] for box in page["data"] if box["id"] not in own.boxes]
        if not page["has_more"]:
            return found
        after = {"after": page["last_id"]}


@soak
def test_what_is_counted_survives_kills(tmp_path: Path) -> None:
    """Containers, minutes and stored bytes are what the callers count; of calls a second per kill is lost."""
    own = Own("")
    with in_background(misbehaving(small_provider())) as provider:
        settings: dict[str, object] = {
            "providers": {"openai": passing_to(f"{provider.url}/v1")},
            "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
        }
        with killed_twice(tmp_path, settings, own) as (_, kills):
            for number, box in enumerate(unknown_boxes(own)):
                own.boxes[box] = Lived(0, own.unclear[min(number, len(own.unclear) - 1)])
        # After a clean stop, which stores what was counted last.
        options = ("--config", str(tmp_path / "berth.yaml"), "--data-dir", str(tmp_path / "data"))
        asked = time.time()
        _, out, _ = refused_berth("usage", "--by", "tenant", "--json", *options)
        asked_until = time.time()
    counted = json.loads(out)
    minutes = [lived.seconds(at) for lived in own.boxes.values() for at in (asked, asked_until)]
    least, most = (sum(max(1, -(-pair[edge] // MINUTE)) for pair in minutes[edge::2]) for edge in (0, 1))
    stored = [(lived.size, lived.seconds(asked)[0], lived.seconds(asked_until)[1]) for lived in own.files.values()]
    with closing(sqlite3.connect(tmp_path / "data" / "berth.db")) as connection:
        (now_stored,) = connection.execute(
            "SELECT sum(metered_bytes) FROM containers WHERE deleted_at IS NULL"
        ).fetchone()
    done = f"{len(own.finished)} answered calls, {len(own.boxes)} containers, {len(own.files)} files"
    print(f"{done}, {len(own.unclear)} unclear creates: {counted}")  # noqa: T201
    assert counted["containers"] == len(own.boxes)
    assert least <= counted["container_minutes"] <= most
    assert now_stored == sum(lived.size for lived in own.files.values() if lived.died is None)
    byte_seconds = counted["stored_byte_hours"] * 3600
    assert (
        sum(size * low for size, low, _ in stored) - 2
        <= byte_seconds
        <= sum(size * high for size, _, high in stored) + 2
    )
    lost = sum(kill - LOST_SECONDS <= at <= kill + LOST_SECONDS for at in own.finished for kill in kills)
    assert len(own.finished) - lost <= counted["calls"]
