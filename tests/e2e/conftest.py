"""A running Berth for the tests that go through Envoy."""

from collections.abc import Iterator

import httpx2
import pytest

from running import KEY_A, SETTINGS, Berth, running


@pytest.fixture(scope="session")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """One Berth for all tests of a process; each test works in containers of its own."""
    with running(tmp_path_factory.mktemp("berth"), SETTINGS) as berth:
        yield berth


@pytest.fixture
def client(berth: Berth) -> Iterator[httpx2.Client]:
    """Return a client of tenant a."""
    with httpx2.Client(base_url=berth.rest, headers={"authorization": f"Bearer {KEY_A}"}, timeout=60) as client:
        yield client


@pytest.fixture
def container(client: httpx2.Client) -> str:
    """Return the id of a new container of tenant a."""
    container: str = client.post("/v1/containers", json={"provider": "ollama", "name": "home"}).json()["id"]
    return container
