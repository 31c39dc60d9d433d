"""A running Berth for the tests that go through Envoy."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.providers.azure import AZURE_KEY, StrictAzure, strict_azure
from support.sandboxes.needed import BY_ITSELF
from support.servers.background import in_background
from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.chain import Chain, chain_of_two, gateway
from support.servers.postgres import Postgres
from support.servers.s3 import S3

FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Count no lines in the tests' own process: Berth runs in others, which count theirs, and SDKs take less time."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(scope="session")
def berth(request: pytest.FixtureRequest) -> Berth:
    """One Berth for all tests of a process; each test works in containers of its own.

    It hosts them, unless the suite asks for another kind: see `chaining.everywhere`.
    """
    return request.getfixturevalue(getattr(request, "param", "hosted"))  # type: ignore[no-any-return] # pytest's


@pytest.fixture(scope="session")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth that keeps all containers itself."""
    with running(tmp_path_factory.mktemp("berth"), SETTINGS) as berth:
        yield berth


@pytest.fixture(scope="session")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth as the documents have it: with a first key, a sandbox, and hosted containers for each provider."""
    folder = tmp_path_factory.mktemp("newcomer")
    (folder / ".berth").symlink_to("data")
    with running(folder, {"providers": {"openai": {"backend": "hosted"}}}, inside=BY_ITSELF) as berth:
        yield berth


@pytest.fixture(scope="session")
def over_grpc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth that Envoy calls over HTTP/2."""
    with running(tmp_path_factory.mktemp("over-grpc"), SETTINGS | {"rest": {"transport": "grpc"}}) as berth:
        yield berth


@pytest.fixture(scope="session")
def on_servers(postgres: Postgres, s3_server: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth that keeps all containers itself, in PostgreSQL and S3."""
    bucket = s3_server.fresh()
    settings = SETTINGS | bucket.settings | {"store": {"url": postgres.fresh()}}
    with running(tmp_path_factory.mktemp("on-servers"), settings, inside=bucket.inside) as berth:
        yield berth


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """Run a gateway and the Berth that keeps its containers."""
    with chain_of_two(tmp_path_factory.mktemp("chain")) as chain:
        yield chain


@pytest.fixture(scope="session")
def chained(chain: Chain) -> Berth:
    """Return the gateway of the chain."""
    return chain.gateway


@pytest.fixture(scope="session")
def strict(chain: Chain) -> Iterator[StrictAzure]:
    """Run an Azure whose containers the last Berth of the chain keeps."""
    with in_background(strict_azure(chain.upstream.rest)) as strict:
        yield strict


@pytest.fixture(scope="session")
def azure(strict: StrictAzure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a gateway before Azure."""
    keys = [{"name": "main", "value": AZURE_KEY}]
    with gateway(tmp_path_factory.mktemp("azure"), {"backend": "azure", "base_url": strict.url, "keys": keys}) as berth:
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
