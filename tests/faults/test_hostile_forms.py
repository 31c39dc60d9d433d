"""Ten thousand hostile forms, many at a time, through Envoy: each is stored whole or refused, and nothing is left."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import NamedTuple, TypeVar

import httpx2
import pytest
from google.api.httpbody_pb2 import HttpBody
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from berth.core.errors import InvalidRequestError
from berth.rpc.bodies.file_uploads import open_file_upload
from berth.rpc.bodies.uploads import open_upload
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from berth.v1.file_service_pb2 import CreateFileRequest
from support.clients.http1 import exchange, is_tidy
from support.forms.hostile import Hostile, hostile_form
from support.measuring.memory import pss_mebibytes
from support.measuring.processes import descendants_of
from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, Berth, running
from support.servers.service import MAX_JSON_BYTES, eventually

R = TypeVar("R", CreateContainerFileRequest, CreateFileRequest)

AT_A_TIME = 50
WARM_UP_BATCHES, BATCHES = times(15, 20), times(20, 400)
SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
    "listen": {"metrics": "127.0.0.1:0"},
}
AUTHORIZATION = f"Bearer {KEY_A}"
HEAD = f"host: x\r\nauthorization: {AUTHORIZATION}"


class Held(NamedTuple):
    """What the service and its Envoy hold on to, together."""

    files: int
    sockets: int
    threads: int
    mebibytes: float
    calls: float

    def exceeds(self, before: "Held") -> bool:
        """Tell whether this is more than `before`, beyond what pools of threads, caches and allocators take.

        Envoy keeps as many connections to the service as there were forms at
        a time, and each has two ends.
        """
        return (
            self.files > before.files + 4
            or self.sockets > before.sockets + 2 * AT_A_TIME
            or self.threads > before.threads + 12
            or self.mebibytes > before.mebibytes + 16
            or self.calls > before.calls
        )


@dataclass
class Attack:
    """Sends forms to a Berth and checks each answer.

    `statuses` counts the answers, and `outside` has the files that are in no
    container, with their sizes.
    """

    berth: Berth
    client: httpx2.Client
    statuses: Counter[int] = field(default_factory=Counter)
    outside: dict[str, int] = field(default_factory=dict)

    async def send_all(self, forms: list[Hostile]) -> None:
        """Send `forms` at a time, those for containers to a new one, and look at what is in it then."""
        container = self.client.post("/v1/containers", json={"name": "hostile"}).json()["id"]
        files = f"/v1/containers/{container}/files"
        sending = [self._send(form, "/v1/files" if form.sent.is_outside else files) for form in forms]
        kept = {id_: size for id_, size in await asyncio.gather(*sending) if id_}
        listed = self.client.get(f"{files}?limit=100").json()["data"]
        inside = {file["id"]: file["bytes"] for file in listed}
        assert inside == {id_: size for id_, size in kept.items() if id_.startswith("cfile_")}
        self.outside |= {id_: size for id_, size in kept.items() if id_.startswith("file-")}

    async def _send(self, form: Hostile, path: str) -> tuple[str, int]:
        """Send a form; return the id and the size of the file that it became, if it did."""
        is_whole = form.arriving is not None
        answer = await exchange(self.berth.rest, form.request(path, HEAD), is_whole=is_whole)
        shown = f"{form!r} was answered {answer}"
        self.statuses[answer.status] += 1
        if answer.status != 200:
            assert answer.is_refusal() if answer.status else not is_whole, shown
            return "", 0
        content = await _content(form)
        assert content is not None, shown
        assert content == form.arriving or b"\r\n\r\n%b\r\n--" % content in (form.arriving or b""), shown
        download = f"GET {path}/{answer.json()['id']}/content HTTP/1.1\r\n{HEAD}\r\n\r\n".encode()
        downloaded = await exchange(self.berth.rest, [download])
        assert downloaded == (200, content), f"{shown}, and the file became {downloaded}"
        return answer.json()["id"], len(content)

    def listed_outside(self) -> dict[str, int]:
        """Return the files that are in no container, with their sizes."""
        listed = self.client.get("/v1/files?limit=10000").json()
        assert not listed["has_more"]
        return {file["id"]: file["bytes"] for file in listed["data"]}

    def held(self) -> Held:
        """Look at what is held on to."""
        assert self.berth.metrics is not None
        told = httpx2.get(self.berth.metrics, timeout=30).text.splitlines()
        (calls,) = (float(line.split()[1]) for line in told if line.startswith("berth_calls_in_flight "))
        pids = descendants_of(self.berth.process.pid)
        descriptors = [_opened(path) for pid in pids for path in Path(f"/proc/{pid}/fd").iterdir()]
        sockets = sum(descriptor.startswith("socket:") for descriptor in descriptors)
        return Held(
            len(descriptors) - sockets,
            sockets,
            sum(len(list(Path(f"/proc/{pid}/task").iterdir())) for pid in pids),
            sum(pss_mebibytes(pid) for pid in pids),
            calls,
        )


def _opened(path: Path) -> str:
    """Return what the descriptor at `path` is of; nothing if it has been closed since."""
    try:
        return str(path.readlink())
    except FileNotFoundError:
        return ""


async def _content(form: Hostile) -> bytes | None:
    """Return the file that a form holds when it is read in one piece; None if it holds none."""
    body = HttpBody(data=form.arriving or b"")
    try:
        body.content_type = form.sent.content_type.encode("latin-1").decode()
        if form.sent.is_outside:
            outside = await open_file_upload(_protocol(CreateFileRequest(body=body)))
            return b"".join([chunk async for chunk in outside.chunks()])
        inside = await open_upload(_protocol(CreateContainerFileRequest(body=body)), max_json_bytes=MAX_JSON_BYTES)
        return b"".join([chunk async for chunk in inside.chunks()])
    except (InvalidRequestError, UnicodeDecodeError):
        return None


async def _protocol(request: R) -> AsyncIterator[R]:
    yield request


def forms_in_batches(send: Callable[[list[Hostile]], None], *, batches: int) -> None:
    """Call `send` with so many batches of forms, the same ones each time: who breaks it must see it at once."""

    @settings(max_examples=batches, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(st.randoms(use_true_random=True))
    def batch(random: Random) -> None:
        send([hostile_form(random) for _ in range(AT_A_TIME)])

    batch()


@soak
@pytest.mark.timeout(3600)
def test_thousands_of_hostile_forms(tmp_path: Path) -> None:
    """No answer is a 5xx, what is stored is what was sent, and nothing is left: bytes, descriptors, memory, calls."""
    with (
        running(tmp_path, SETTINGS) as berth,
        httpx2.Client(base_url=berth.rest, headers={"authorization": AUTHORIZATION}, timeout=30) as client,
        asyncio.Runner() as runner,
    ):
        attack = Attack(berth, client)

        def send(forms: list[Hostile]) -> None:
            runner.run(attack.send_all(forms))

        forms_in_batches(send, batches=WARM_UP_BATCHES)
        before = attack.held()
        forms_in_batches(send, batches=BATCHES)
        runner.run(eventually(lambda: not attack.held().exceeds(before)))
        runner.run(eventually(partial(is_tidy, tmp_path / "data")))
        assert attack.listed_outside() == attack.outside
        assert attack.statuses.total() >= BATCHES * AT_A_TIME
        assert attack.statuses[200] >= BATCHES * AT_A_TIME // 10
        print(f"{attack.statuses.total()} forms: {dict(attack.statuses)}")  # noqa: T201 - the figures
        lines = [json.loads(line) for line in berth.log.read_text().splitlines()]
        assert [line for line in lines if line.get("level") in {"warning", "error", "critical"}] == []
