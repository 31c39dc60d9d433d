"""Ten times as many callers as Berth can serve well: it serves as many calls as before, and nothing else fails."""

import os
import sys
import time
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from statistics import median
from typing import NamedTuple

import httpx2
import pytest

from support.clients.callers import Took, called
from support.measuring.memory import memory_mebibytes, reset_peaks
from support.measuring.processes import descendants_of
from support.measuring.soak import IS_LONG, soak, times
from support.servers.berth import KEY_A, SETTINGS, UNCOUNTED, running

NORMAL = times(16, 64)
SECONDS = times(1, 5)
ROUNDS = times(1, 5)
RECOVERED_SECONDS = 5
MAX_CALLS = 128
MEMORY_MEBIBYTES = 128
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
    settings = {**SETTINGS, "log": {"level": "warning"}, "rest": {"max_calls": MAX_CALLS}}
    with running(tmp_path, settings, inside=inside) as berth:
        pids = descendants_of(berth.process.pid)
        headers = {"authorization": f"Bearer {KEY_A}"}
        made = httpx2.post(f"{berth.rest}/v1/containers", headers=headers, json={"name": "a"}, timeout=30).json()["id"]

        def calls(number: int) -> Took:
            return called(f"{berth.rest}/v1/containers/{made}", KEY_A, number, SECONDS, others)

        rest = memory_mebibytes(pids, "VmRSS")
        reset_peaks(pids)
        rounds = []
        for _ in range(ROUNDS):
            rounds.append((calls(NORMAL), calls(10 * NORMAL)))
            time.sleep(RECOVERED_SECONDS if IS_LONG else 0)
        more, after = memory_mebibytes(pids, "VmHWM") - rest, calls(NORMAL)
    with capsys.disabled():
        print("", *(f"{normal}\n{many}" for normal, many in rounds), f"{after}, {more:.0f} MiB more", sep="\n")  # noqa: T201 - figures for people
    assert [took.others for took in (*chain(*rounds), after)] == [0] * (2 * ROUNDS + 1)
    assert more <= MEMORY_MEBIBYTES
    if IS_LONG:
        before, during = (Middle.of(kind) for kind in zip(*rounds, strict=True))
        with capsys.disabled():
            print(before, during)  # noqa: T201 - the same
        assert during.p99 <= 5 * before.p99
        assert during.per_second >= 0.8 * before.per_second
        assert after.p99 <= 2 * before.p99


class Middle(NamedTuple):
    """The medians of several rounds."""

    per_second: float
    p99: float

    @classmethod
    def of(cls, rounds: Iterable[Took]) -> "Middle":
        """Return those of `rounds`."""
        took = list(rounds)
        return cls(median(one.per_second for one in took), median(one.p99 for one in took))
