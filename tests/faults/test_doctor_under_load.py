"""`berth doctor` beside a Berth that is busy: what happens at the same time is never taken for damage."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from support.measuring.soak import soak, times
from support.servers.berth import KEY_A, running
from support.servers.process import refused_berth

SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]},
}
HEADERS = {"authorization": f"Bearer {KEY_A}"}
WORKERS = 4


def work(rest: str, seed: int, ended: threading.Event) -> int:
    """Upload, copy and delete files until `ended`; return how many were uploaded. Some have the same content."""
    dice = random.Random(seed)  # noqa: S311 - no secrets
    kept: list[str] = []
    with httpx2.Client(base_url=rest, headers=HEADERS, timeout=60) as client:
        uploads = 0
        while not ended.is_set():
            uploads += 1
            content = dice.choice([b"same", dice.randbytes(dice.choice([10, 100_000, 5_000_000]))])
            answer = client.post("/v1/files?filename=x&purpose=batch", content=content).raise_for_status()
            kept.append(answer.json()["id"])
            container = {"name": "x", "file_ids": [dice.choice(kept)]}
            box = client.post("/v1/containers", json=container).raise_for_status().json()["id"]
            client.delete(f"/v1/containers/{box}").raise_for_status()
            while len(kept) > dice.choice([1, 5]):
                client.delete(f"/v1/files/{kept.pop(0)}").raise_for_status()
    return uploads


@soak
def test_a_busy_berth_is_well(tmp_path: Path) -> None:
    """While files are uploaded, copied and deleted, the doctor finds and changes nothing, and no call fails."""
    ended, runs = threading.Event(), times(3, 100)
    with running(tmp_path, SETTINGS) as berth, ThreadPoolExecutor(WORKERS) as pool:
        workers = [pool.submit(work, berth.rest, seed, ended) for seed in range(WORKERS)]
        try:
            options = ("--config", str(tmp_path / "berth.yaml"), "--data-dir", str(tmp_path / "data"))
            for _ in range(runs):
                status, output, errors = refused_berth("doctor", "--deep", "--fix", *options)
                assert (status, output) == (0, ""), output + errors
        finally:
            ended.set()
        uploads = sum(worker.result() for worker in workers)
    assert uploads > WORKERS
    print(f"\ndoctor: {runs} runs beside {uploads} uploads, nothing found")  # noqa: T201 - figures of make soak
