"""The list of containers in the console: sizes, paging, and what changes by itself."""

import sqlite3
from contextlib import closing

import httpx2
from playwright.sync_api import Locator, expect

from support.clients.browser import Console, Opened, needs_browser
from support.servers.berth import KEY_A, KEY_B, Berth

pytestmark = needs_browser
BUSY_MILLISECONDS = 5000
"""What takes longer is too slow on any machine, however busy it is."""
LIVE_MILLISECONDS = 4000
"""How often the list is loaded again."""


def size_of(console: Console, container: str) -> Locator:
    """Return the cell with the size of a container."""
    return console.page.get_by_role("row").filter(has_text=container).locator("[data-label=Size]")


def test_the_list_has_sizes(opened: Opened, client: httpx2.Client, container: str) -> None:
    """The size of a container is in the column of its name, and follows what is in the container."""
    console = opened()
    console.open(KEY_A)
    expect(console.page.get_by_role("columnheader", name="Size")).to_be_visible()
    expect(size_of(console, container)).to_have_text("0 B")
    for path, size, shown in (("a", 1_234_567, "1.2 MB"), ("b", 2_000_000, "3.2 MB")):
        query = {"file_path": path}
        client.post(f"/v1/containers/{container}/files", params=query, content=b"x" * size).raise_for_status()
        console.button("Refresh").click()
        expect(size_of(console, container)).to_have_text(shown)
    assert console.complaints == []


def test_a_container_at_a_provider_has_none(opened: Opened, berth: Berth, container: str) -> None:
    """Where the size is not known there is a dash."""
    with closing(sqlite3.connect(berth.log.parent / "data" / "berth.db", timeout=20)) as database, database:
        database.execute(
            "UPDATE containers SET provider = 'xai', key_name = 'main', status = 'running' WHERE id = ?", (container,)
        )
    console = opened()
    console.open(KEY_A)
    expect(size_of(console, container)).to_have_text("\N{EN DASH}")


def test_ten_thousand_containers(opened: Opened) -> None:
    """All pages are turned without the browser standing still, and filters find one."""
    console = opened()
    console.open(KEY_B)
    page = console.page
    page.get_by_label("Per page").select_option("100")
    expect(page.get_by_text("Page 1 · 1\N{EN DASH}100")).to_be_visible()
    longest = console.turn_all_pages()
    assert longest < BUSY_MILLISECONDS
    expect(page.get_by_text("Page 100 · 9901\N{EN DASH}10000")).to_be_visible()
    assert page.locator("tbody tr").count() == 100
    page.get_by_label("Name").fill("box-4711")
    page.keyboard.press("Enter")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="box-4711", exact=True)).to_be_visible()
    assert "name=box-4711" in page.url


def test_the_list_is_live(opened: Opened, client: httpx2.Client) -> None:
    """A container that another client creates appears by itself, after four seconds of the browser's clock."""
    console = opened()
    console.context.clock.install()
    console.page.reload()
    console.open(KEY_A)
    console.page.locator("tbody tr, .empty p").first.wait_for()
    client.post("/v1/containers", json={"provider": "groq", "name": "from-elsewhere"}).raise_for_status()
    console.context.clock.fast_forward(LIVE_MILLISECONDS)
    expect(console.page.get_by_role("link", name="from-elsewhere")).to_be_visible()
