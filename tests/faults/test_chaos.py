"""A Berth of which the log, the configuration and the open files fail again and again, and its answers meanwhile."""

import hashlib
import json
import random
import resource
import shutil
import signal
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from grpc_health.v1 import health_pb2

from support.clients.ledger import Client, Ledger
from support.clients.polling import health_of, wait_until
from support.measuring.processes import children_of
from support.measuring.soak import soak, times
from support.servers.berth import Berth, start
from support.servers.sinks import MOUNT, DiskSink, PipeSink, Sink

KEY, EXTRA = f"sk-bf-{'0123456789ab' * 4}", f"sk-bf-{'ba9876543210' * 4}"
HEADERS = {"authorization": f"Bearer {KEY}"}
WORKERS = 4
CONNECTIONS = 400
OPEN_FILES = 512
LIMITED = ("sh", "-c", f'ulimit -n {OPEN_FILES}; exec "$@"', "sh")
RELOADED, REFUSED = "auth.reloaded", "auth.reload_failed"


def can_mount() -> bool:
    """Tell whether this system lets its users have disks of their own."""
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run([*MOUNT, "true"], check=False, capture_output=True).returncode
    )


def settings(*keys: str, audit: str) -> dict[str, Any]:
    """Return the settings, with callers of one tenant."""
    callers = [{"name": f"k{number}", "value": key, "tenant": "a"} for number, key in enumerate(keys)]
    return {
        "auth": {"virtual_keys": callers},
        "default_provider": "ollama",
        "audit": {"when_unavailable": audit},
        "listen": {"metrics": "127.0.0.1:0"},
    }


class Chaos:
    """Troubles of a running Berth, each for a short while, from several threads at once."""

    def __init__(self, berth: Berth, sink: Sink, config: Path, audit: str) -> None:
        self.ended = threading.Event()
        self.hangups = 0
        self._berth, self._sink, self._config = berth, sink, config
        self._good = [yaml.safe_dump(settings(*keys, audit=audit), sort_keys=False) for keys in ((KEY,), (KEY, EXTRA))]

    def spoil_log(self, dice: random.Random) -> None:
        """Block, break or fill the log, and let it work again."""
        while not self.ended.wait(dice.uniform(0.2, 2.0)):
            dice.choice(self._sink.troubles())()
            self.ended.wait(dice.choice([dice.uniform(0.05, 0.5), dice.uniform(0.5, 3.0)]))
            self._sink.recover()

    def spoil_configuration(self, dice: random.Random) -> None:
        """Write configurations of all kinds in place, and ask for many reloads meanwhile."""
        while not self.ended.is_set():
            self._config.write_text(dice.choice([*self._good, *self._good, *self._bad(dice)]))
            for _ in range(dice.choice([1, 3, 30])):
                self.hang_up()
            self.ended.wait(dice.uniform(0.0, 0.3))

    def spoil_open_files(self, dice: random.Random) -> None:
        """Let the service or Envoy have no more open files, or hold idle connections to one of them."""
        troubles: list[Callable[[random.Random], None]] = [self._limit_files, self._limit_files, self._connect]
        while not self.ended.is_set():
            dice.choice(troubles)(dice)
            self.ended.wait(dice.uniform(0.3, 1.0))

    def hang_up(self) -> None:
        """Ask for a reload."""
        self._berth.process.send_signal(signal.SIGHUP)
        self.hangups += 1

    def restore_configuration(self) -> None:
        """Write the configuration of the start."""
        self._config.write_text(self._good[0])

    def _bad(self, dice: random.Random) -> list[str]:
        good = self._good[1]
        cut = good[: dice.randrange(good.index("tenant: a") + len("tenant: a"))]
        return ["", cut, good.replace("tenant: a", "tenant: [a"), good + "unknown: 1\n"]

    def _limit_files(self, dice: random.Random) -> None:
        chosen = dice.choice([self._berth.process.pid, *children_of(self._berth.process.pid)])
        with suppress(ProcessLookupError, FileNotFoundError):  # an Envoy may be restarted
            now = len(list(Path(f"/proc/{chosen}/fd").iterdir()))
            before = resource.prlimit(chosen, resource.RLIMIT_NOFILE, (now + dice.randrange(4), OPEN_FILES))
            self.ended.wait(dice.uniform(0.1, dice.choice([0.5, 1.0, 10.0])))
            resource.prlimit(chosen, resource.RLIMIT_NOFILE, before)

    def _connect(self, dice: random.Random) -> None:
        host, _, port = dice.choice([self._berth.rest.removeprefix("http://"), self._berth.grpc]).rpartition(":")
        with ExitStack() as stack:
            for _ in range(CONNECTIONS):
                with suppress(OSError):
                    stack.enter_context(socket.create_connection((host, int(port)), timeout=1))
            self.ended.wait(dice.uniform(0.1, 1.0))


class Worker:
    """A client that creates containers, uploads files into its first one, and deletes both, each of its own name."""

    def __init__(self, client: Client, seed: int, digests: dict[str, str]) -> None:
        self._client, self._seed, self._digests = client, seed, digests
        self._dice = random.Random(seed)  # noqa: S311 - no secrets
        self._containers: dict[str, str] = {}
        self._files: dict[str, str] = {}
        self.home: str | None = None

    def run(self, ended: threading.Event) -> None:
        """Work until `ended`."""
        number = 0
        while not ended.is_set():
            number += 1
            name = f"{self._seed}-{number}"
            kind = self._dice.choice(["create", "create once", "upload", "upload", "delete", "delete file"])
            if self.home is None or kind.startswith("create"):
                self._create(name, once=kind == "create once")
            elif kind == "upload":
                self._upload(self.home, name)
            elif kind == "delete" and self._containers:
                self._delete(*self._containers.popitem())
            elif kind == "delete file" and self._files:
                self._delete_file(self.home, *self._files.popitem())

    def _create(self, name: str, *, once: bool) -> None:
        create, key = self._client.sdk.containers.create, {"Idempotency-Key": name} if once else {}
        kind = "create once" if once else "create"
        made = self._client.create(kind, name, lambda: create(name=name, extra_headers=key).id, once=once)
        if made and self.home:
            self._containers[made] = name
        self.home = self.home or made

    def _upload(self, home: str, name: str) -> None:
        content = self._dice.randbytes(self._dice.choice([10, 10_000, 300_000]))
        self._digests[name] = hashlib.sha256(content).hexdigest()
        upload = self._client.sdk.containers.files.create
        if made := self._client.create("upload", name, lambda: upload(home, file=(name, content)).id):
            self._files[made] = name

    def _delete(self, container: str, name: str) -> None:
        self._client.delete("delete", container, name, lambda: self._client.sdk.containers.delete(container))

    def _delete_file(self, home: str, file: str, name: str) -> None:
        delete = self._client.sdk.containers.files.delete
        self._client.delete("delete file", file, name, lambda: delete(file, container_id=home))


def listed(client: httpx2.Client, path: str) -> list[dict[str, Any]]:
    """Return all pages of a list."""
    items: list[dict[str, Any]] = []
    while True:
        after = {"after": items[-1]["id"]} if items else {}
        page = client.get(path, params={"limit": 100} | after).raise_for_status().json()
        items += page["data"]
        if not page["has_more"]:
            return items


def stored(rest: str, digests: dict[str, str], homes: list[str]) -> dict[str, str]:
    """Return the name of each container and file in the store, by id; each file must have the content of its name."""
    with httpx2.Client(base_url=f"{rest}/v1", headers=HEADERS, timeout=60) as client:
        present = {each["id"]: each["name"] for each in listed(client, "/containers")}
        for home in homes:
            for file in listed(client, f"/containers/{home}/files"):
                name = present[file["id"]] = file["path"].removeprefix("/mnt/data/")[33:]
                content = client.get(f"/containers/{home}/files/{file['id']}/content").raise_for_status().content
                assert hashlib.sha256(content).hexdigest() == digests[name]
    return present


def events(text: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the events of a log, and the lines that are none because the sink has taken a part of them."""
    parsed, torn = [], []
    for line in filter(None, text.splitlines()):
        try:
            parsed.append(json.loads(line))
        except ValueError:
            torn.append(line)
    return parsed, torn


def dropped_lines(metrics: str) -> int:
    """Return how many lines of the log were dropped, as the metrics count them."""
    found = [
        line
        for line in httpx2.get(metrics, timeout=30).text.splitlines()
        if line.startswith("berth_log_lines_dropped_total")
    ]
    return int(float(found[0].split()[1]))


def check_log(text: str, dropped: int, ids: set[str]) -> Counter[str]:
    """Check that the log has no traceback, no merged lines, no audit event without an effect; count the events."""
    parsed, torn = events(text)
    assert "Traceback" not in text
    assert [event for event in parsed if "exception" in event] == []
    assert [line for line in torn if '{"' in line[1:]] == []
    assert sum(event["lines"] for event in parsed if event["event"] == "log.dropped") == dropped
    created = [event for event in parsed if event["event"] in {"container.created", "container_file.created"}]
    assert {event["id"] for event in created} <= ids
    return Counter({"torn lines": len(torn), "dropped lines": dropped}) + Counter(event["event"] for event in parsed)


def run_chaos(berth: Berth, chaos: Chaos, ledger: Ledger, seconds: float) -> dict[str, str]:
    """Let clients work during all troubles at once, and check the store; return what is in it."""
    digests: dict[str, str] = {}
    troubles = (chaos.spoil_log, chaos.spoil_configuration, chaos.spoil_open_files)
    with ExitStack() as stack, ThreadPoolExecutor(WORKERS + len(troubles)) as pool:
        keys = [EXTRA, *[KEY] * (WORKERS - 1)]
        clients = [
            stack.enter_context(Client(ledger, berth.rest, key, keeps_connections=number % 2 > 0))
            for number, key in enumerate(keys)
        ]
        workers = [Worker(client, seed, digests) for seed, client in enumerate(clients)]
        running = [pool.submit(worker.run, chaos.ended) for worker in workers]
        running += [pool.submit(trouble, random.Random(seed)) for seed, trouble in enumerate(troubles)]  # noqa: S311
        chaos.ended.wait(seconds)  # how long it takes, not what is waited for
        chaos.ended.set()
        for each in running:
            each.result()
    chaos.restore_configuration()
    return stored(berth.rest, digests, [worker.home for worker in workers if worker.home])


@contextmanager
def stopped_at_last(berth: Berth, sink: Sink) -> Iterator[Berth]:
    """If something fails, kill Berth, and keep what its log has beside its configuration."""
    assert berth.process.stdout is not None
    with berth.process.stdout:
        try:
            sink.started(berth)
            yield berth
        except BaseException:
            berth.process.kill()
            berth.process.wait()
            berth.log.with_suffix(".failed.log").write_text(sink.end())
            raise


@soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("kind", "audit"), [(PipeSink, "refuse"), (DiskSink, "drop")])
def test_an_error_has_no_effect_and_a_success_has_one(kind: type[Sink], audit: str, tmp_path: Path) -> None:
    """What calls were answered is what is in the store, whatever fails meanwhile; afterwards all works as before."""
    if kind is DiskSink and not can_mount():
        pytest.skip("this system does not let its users have disks of their own")
    ledger, sink = Ledger(), kind(tmp_path)
    with stopped_at_last(start(tmp_path, settings(KEY, audit=audit), inside=(*LIMITED, *sink.inside)), sink) as berth:
        chaos = Chaos(berth, sink, tmp_path / "berth.yaml", audit)
        present = run_chaos(berth, chaos, ledger, times(2, 300))
        assert ledger.contradictions(present) == []
        assert health_of(berth.grpc) == health_pb2.HealthCheckResponse.SERVING
        before = sink.text().count(RELOADED)
        chaos.hang_up()
        wait_until(lambda: sink.text().count(RELOADED) > before)
        assert berth.metrics is not None
        dropped = dropped_lines(berth.metrics)
        assert berth.stop() == 0
    counts = check_log(sink.end(), dropped, {*present, *ledger.deletes})
    report(kind, ledger, chaos, counts)


def report(kind: type[Sink], ledger: Ledger, chaos: Chaos, counts: Counter[str]) -> None:
    """Print the figures of `make soak`, after a check that most calls had a certain outcome."""
    total = sum(ledger.calls.values())
    assert ledger.unknown < total / 4
    named = ("call.finished", RELOADED, REFUSED, "torn lines", "dropped lines", "envoy.restarted", "files.scarce")
    print(  # noqa: T201 - figures of make soak
        f"\nchaos ({kind.__name__}): {total} calls {dict(ledger.calls)}, {ledger.unknown} failed without an answer;"
        f"\n  ends of tries: {dict(ledger.ends)}; errors of calls: {dict(ledger.failed)};"
        f"\n  {chaos.hangups} SIGHUPs; log: { {name: counts[name] for name in named} }"
    )
