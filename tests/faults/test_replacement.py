"""Replacing a Berth under load: callers with the OpenAI SDK notice nothing."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx2
from openai import OpenAI

from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, STOP_SECONDS, Berth, start

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
PIECE = os.urandom(64 * 1024)


class Load:
    """Callers that work until they are stopped; what they have made, and every error that they see."""

    def __init__(self, rest: str, container: str) -> None:
        self.reads = 0
        self.names: list[str] = []
        self.files: dict[str, bytes] = {}
        self.errors: list[Exception] = []
        self._rest = rest
        self._container = container
        self._stop = threading.Event()
        work = [self._read, self._read, self._create, self._upload]
        self._threads = [threading.Thread(target=self._repeat, args=(one,)) for one in work]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each caller finish what it does."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _repeat(self, work: Callable[[OpenAI], None]) -> None:
        with OpenAI(base_url=f"{self._rest}/v1", api_key=KEY_A) as client:
            while not self._stop.is_set():
                try:
                    work(client)
                except Exception as error:  # noqa: BLE001 - each error of a caller counts
                    self.errors.append(error)

    def _read(self, client: OpenAI) -> None:
        assert client.containers.retrieve(self._container).id == self._container
        self.reads += 1

    def _create(self, client: OpenAI) -> None:
        name = uuid4().hex
        client.containers.create(name=name, extra_headers={"Idempotency-Key": name})
        self.names.append(name)

    def _upload(self, client: OpenAI) -> None:
        content = uuid4().bytes + PIECE
        name = content[:16].hex()
        file = client.containers.files.create(
            self._container, file=(name, content), extra_headers={"Idempotency-Key": name}
        )
        self.files[file.id] = content


class SlowUpload:
    """An upload without an idempotency key that ends only when `finish` is called."""

    def __init__(self, rest: str, container: str) -> None:
        self.status = 0
        self._began, self._rest_may_come = threading.Event(), threading.Event()
        url = f"{rest}/v1/containers/{container}/files?filename={uuid4().hex}"
        self._thread = threading.Thread(target=self._send, args=(url,))
        self._thread.start()
        assert self._began.wait(STOP_SECONDS)

    def finish(self) -> int:
        """Send the rest; return the status of the answer."""
        self._rest_may_come.set()
        self._thread.join(STOP_SECONDS)
        return self.status

    def _send(self, url: str) -> None:
        headers = {"authorization": f"Bearer {KEY_A}"}
        self.status = httpx2.post(url, content=self._body(), headers=headers, timeout=STOP_SECONDS).status_code

    def _body(self) -> Iterator[bytes]:
        for _ in range(16):
            yield PIECE
        self._began.set()
        assert self._rest_may_come.wait(STOP_SECONDS)
        yield b"the rest"


@soak
def test_replacements_under_load(tmp_path: Path) -> None:
    """During replacements no call fails, nothing is made twice, uploads in flight end, and predecessors exit with 0."""
    count = times(2, 10)
    berth = start(tmp_path, SETTINGS, name="berth-0")
    with OpenAI(base_url=f"{berth.rest}/v1", api_key=KEY_A) as client:
        container = client.containers.create(name="kept", extra_body={"expires_after": EXPIRES}).id
    load = Load(berth.rest, container)
    seconds = []
    try:
        for i in range(count):
            before, slow = berth, SlowUpload(berth.rest, container)
            started = time.monotonic()
            berth = start(tmp_path, SETTINGS, name=f"berth-{i + 1}", options=["--replace"])
            seconds.append(time.monotonic() - started)
            assert (berth.rest, berth.grpc) == (before.rest, before.grpc)
            assert slow.finish() == 200
            assert _exit_code(before) == 0
    finally:
        load.stop()
        try:
            _expect_all(load, berth, container, slow_uploads=count)
        finally:
            assert berth.stop() == 0
            _exit_code(berth)
    print(  # noqa: T201 - a measurement
        f"\n{count} replacements, at most {max(seconds):.1f} s each: {load.reads} reads, {len(load.names)} creates,"
        f" {len(load.files)} + {count} uploads; {len(load.errors)} failed, 0 doubled"
    )


EXPIRES = {"anchor": "last_active_at", "minutes": 60}


def _expect_all(load: Load, berth: Berth, container: str, *, slow_uploads: int) -> None:
    """Check that each thing exists once, as it was sent."""
    assert load.errors == []
    with OpenAI(base_url=f"{berth.rest}/v1", api_key=KEY_A) as client:
        names = [one.name for one in client.containers.list(limit=100) if one.id != container]
        assert sorted(names) == sorted(load.names)
        files = {file.id for file in client.containers.files.list(container, limit=100)}
        assert load.files.keys() <= files
        assert len(files) == len(load.files) + slow_uploads
        for file_id, content in load.files.items():
            assert client.containers.files.content.retrieve(file_id, container_id=container).read() == content


def _exit_code(berth: Berth) -> int:
    assert berth.process.stdout is not None
    berth.process.stdout.close()
    return berth.process.wait(STOP_SECONDS)
