"""One browser, and one Berth with its sandbox, for all tests of pages."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser

from support.clients.browser import Console, Opened, running_browser
from support.sandboxes.needed import BY_ITSELF
from support.servers.berth import KEY_A, KEY_B, Berth, running
from support.servers.chain import passing_to
from support.servers.empty_database import put_containers, put_empty_database

MANY = 10_000


@pytest.fixture(scope="package")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Run a Berth in which the tenant b has ten thousand containers, and that passes through those of xai."""
    folder = tmp_path_factory.mktemp("browser")
    (folder / "data").mkdir(mode=0o700)
    put_empty_database(folder / "data" / "berth.db")
    put_containers(folder / "data" / "berth.db", MANY, tenant="b")
    keys = [{"name": name, "value": key, "tenant": name} for name, key in (("a", KEY_A), ("b", KEY_B))]
    settings = {
        "auth": {"virtual_keys": keys},
        "exec": {"accept_shared_kernel": True},
        "providers": {"xai": passing_to("http://127.0.0.1:9/v1")},
    }
    with running(folder, settings, inside=BY_ITSELF) as berth:
        yield berth


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Run a browser."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def opened(berth: Berth, browser: Browser) -> Iterator[Opened]:
    """Return a function that opens a console in a tab of its own."""
    consoles: list[Console] = []

    def open_console(**context: Any) -> Console:
        consoles.append(Console(browser, berth.rest, **context))
        return consoles[-1]

    yield open_console
    for console in consoles:
        console.context.close()


@pytest.fixture
def container(client: httpx2.Client) -> Iterator[str]:
    """Make a container of the tenant a, and delete it afterwards, which ends its commands."""
    made: str = client.post("/v1/containers", json={"provider": "groq", "name": "home"}).json()["id"]
    yield made
    client.delete(f"/v1/containers/{made}")
