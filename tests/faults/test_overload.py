"""Ten times as many callers as Berth can serve well: it serves as many calls as before, and nothing else fails."""

import os
import sys
import time
from pathlib import Path

import httpx2
import pytest

from support.clients.callers import Took, called
from support.measuring.memory import memory_mebibytes, reset_peaks
from support.measuring.processes import descendants_of
from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, SETTINGS, UNCOUNTED, running

NORMAL = times(16, 64)
SECONDS = times(1, 10)
RECOVERED_SECONDS = 5
MEMORY_MEBIBYTES = 128
IS_LONG = times(0, 1) == 1
ON_ONE = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); os.execvp(sys.argv[2], sys.argv[2:])"
"""A program that becomes the command after its first argument, the processor for that."""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="Berth and its callers need a processor each, and a system that can say which",
)
@soak
def test_ten_times_as_many_callers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Callers get an answer or a 503 with Retry-After, memory is bounded, and five seconds later all is as before."""
    mine, *others = sorted(os.sched_getaffinity(0))
    inside = (*UNCOUNTED, sys.executable, "-c", ON_ONE, str(mine))
    with running(tmp_path, {**SETTINGS, "log": {"level": "warning"}}, inside=inside) as berth:
        pids = descendants_of(berth.process.pid)
        headers = {"authorization": f"Bearer {KEY_A}"}
        made = httpx2.post(f"{berth.rest}/v1/containers", headers=headers, json={"name": "a"}, timeout=30).json()["id"]

        def calls(number: int) -> Took:
            return called(f"{berth.rest}/v1/containers/{made}", KEY_A, number, SECONDS, others)

        before, rest = calls(NORMAL), memory_mebibytes(pids, "VmRSS")
        reset_peaks(pids)
        during, more = calls(10 * NORMAL), memory_mebibytes(pids, "VmHWM") - rest
        time.sleep(RECOVERED_SECONDS if IS_LONG else 0)
        after = calls(NORMAL)
    with capsys.disabled():
        print(f"\n{before}\n{during}, {more:.0f} MiB more\n{after}")  # noqa: T201 - figures for people
    assert [took.others for took in (before, during, after)] == [0, 0, 0]
    assert more <= MEMORY_MEBIBYTES
    if IS_LONG:
        assert during.per_second >= 0.8 * before.per_second
        assert after.p99 <= 2 * before.p99
