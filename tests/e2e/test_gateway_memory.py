"""Files of any size through the gateway: what 512 MiB up and down cost its service and its Envoy together."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.measuring.memory import cost_of_a_large_file
from support.measuring.processes import descendants_of
from support.servers.berth import KEY_A, UNCOUNTED
from support.servers.chain import UPSTREAM_SETTINGS, Chain, chain_of_two

HEADERS = {"authorization": f"Bearer {KEY_A}"}


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with chain_of_two(tmp_path, upstream_settings=UPSTREAM_SETTINGS | {"hosted": {}}, inside=UNCOUNTED) as chain:
        yield chain


@pytest.mark.timeout(300)
def test_flat_memory(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    """512 MiB pass through it up and down with at most 48 MiB more memory."""
    with httpx2.Client(base_url=chain.gateway.rest, headers=HEADERS, timeout=120) as client:
        cost = cost_of_a_large_file(descendants_of(chain.gateway.process.pid), client)
    with capsys.disabled():
        print(f"\nmemory, the gateway's service and Envoy: {cost}")  # noqa: T201 - figures for people
    assert max(cost.upload, cost.download) <= 48
