"""The console in a real browser, with a whole Berth and its sandbox."""

import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import httpx2
import pytest
from google.protobuf import json_format
from playwright.sync_api import expect

from berth.v1.container_exec_service_pb2 import StreamContainerExecRequest
from berth.v1.container_service_pb2 import ListContainersRequest
from berth.v1.file_service_pb2 import CreateFileRequest
from berth.v1.provider_pb2 import Provider
from support.clients.browser import PICTURE, Opened, needs_browser, run_programs
from support.sandboxes.needed import needs_sandbox
from support.servers.berth import KEY_A, Berth

pytestmark = [needs_browser, needs_sandbox]
BUSY_MILLISECONDS = 5000
"""What takes longer is too slow on any machine, however busy it is."""
HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
HOSTILE_SVG = f"<svg xmlns='http://www.w3.org/2000/svg' onload='window.hacked = 1'>{HOSTILE}</svg>"


def test_a_tour(opened: Opened, tmp_path: Path) -> None:
    """A person signs in, creates a container, drops a file, runs code, sees its picture, saves files, and deletes."""
    content = b"a,b\n1,2\n\xc3\xa4,3\n" * 100_000
    (tmp_path / "table.csv").write_bytes(content)
    console = opened()
    page = console.page
    console.sign_in(KEY_A)
    console.create("tour")
    console.drop(tmp_path / "table.csv")
    page.get_by_role("rowheader", name="table.csv").wait_for()
    cell = console.run(PICTURE)
    expect(cell.locator(".output")).to_contain_text("lines: 300000\n")
    picture = cell.get_by_role("img", name="figure-1.png")
    expect(picture).to_have_js_property("naturalWidth", 3)
    assert (picture.get_attribute("src") or "").startswith("blob:")
    expect(page.get_by_role("rowheader", name="figure-1.png")).to_be_visible()
    with page.expect_download() as saved:
        console.button("Download table.csv").click()
    assert (saved.value.suggested_filename, saved.value.path().read_bytes()) == ("table.csv", content)
    console.delete("Delete table.csv")
    expect(page.get_by_role("rowheader", name="table.csv")).to_have_count(0)
    console.delete("Delete")
    expect(page.get_by_role("heading", name="Containers")).to_be_visible()
    expect(page.get_by_role("link", name="tour")).to_have_count(0)
    assert (console.complaints, console.outside()) == ([], [])


def test_it_is_small_and_paints_soon(opened: Opened) -> None:
    """The whole console takes less than 100 kB of the line, and shows something soon."""
    page = opened().page
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint < BUSY_MILLISECONDS
    loaded = "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
    size = page.evaluate(f"{loaded}.reduce((sum, entry) => sum + entry.encodedBodySize, 0)")
    assert 10_000 < size < 100_000


def test_output_comes_as_it_is_written_and_a_program_can_be_stopped(opened: Opened, container: str) -> None:
    """Output is there before the program ends, also in a tab that is opened later; variables are kept."""
    console = opened()
    console.open(KEY_A, f"#/containers/{container}")
    cell = console.run("import time\nkept = 6 * 7\nprint('first', flush=True)\ntime.sleep(60)")
    expect(cell.locator(".output")).to_have_text("first\n")
    expect(cell.get_by_text("running", exact=True)).to_be_visible()
    console.page.reload()
    cell = console.page.locator("berth-cell")
    expect(cell.locator(".output")).to_have_text("first\n")
    console.button("Stop").click()
    expect(cell.get_by_text("cancelled", exact=True)).to_be_visible()
    console.page.get_by_label("Program", exact=True).fill("kept")
    console.page.keyboard.press("Control+Enter")
    expect(console.page.locator("berth-cell").first.locator(".output")).to_have_text("42\n")
    failed = console.run("echo wrong >&2; exit 3", "shell")
    expect(failed.get_by_text("exit 3", exact=True)).to_be_visible()
    expect(failed.locator(".stderr")).to_have_text("wrong\n")


def test_a_wrong_key_is_refused(opened: Opened) -> None:
    """The error has its code and the id of the request, the field is marked, and the key is not kept."""
    console = opened()
    console.sign_in("sk-bf-wrong")
    alert = console.page.get_by_role("alert")
    expect(alert).to_contain_text("virtual_key_not_found")
    expect(alert).to_contain_text(re.compile("request [0-9a-f-]{36}"))
    expect(console.page.get_by_label("Key")).to_have_attribute("aria-invalid", "true")
    assert console.page.evaluate("sessionStorage.length + localStorage.length") == 0
    console.page.evaluate("sessionStorage.setItem('berth.key', 'sk-bf-revoked')")
    console.page.reload()
    expect(alert).to_contain_text("virtual_key_not_found")
    assert console.page.evaluate("sessionStorage.length") == 0


def test_the_key_is_forgotten(opened: Opened, berth: Berth) -> None:
    """The key is in no address and no other storage, stays when the page is loaded again, and goes by signing out."""
    console = opened()
    console.open(KEY_A)
    console.page.reload()
    console.page.get_by_role("heading", name="Containers").wait_for()
    assert console.page.evaluate("[JSON.stringify(localStorage), document.cookie]") == ["{}", ""]
    assert not any(KEY_A in url for url in console.requests)
    other = console.context.new_page()
    other.goto(f"{berth.rest}/console")
    expect(other.get_by_label("Key")).to_be_visible()
    console.button("Sign out").click()
    expect(console.page.get_by_label("Key")).to_be_visible()
    assert console.page.evaluate("sessionStorage.length") == 0


def test_nothing_stays_after_a_key_is_refused(opened: Opened, container: str) -> None:
    """Dialogs and streams end when their view or their key is gone; half an escape of a terminal is not shown."""
    console = opened()
    console.open(KEY_A, f"#/containers/{container}")
    halves = (
        "import time\nprint('\\x1b[3', end='', flush=True)\ntime.sleep(0.3)\nprint('1mred', flush=True)\ntime.sleep(60)"
    )
    expect(console.run(halves).locator(".output")).to_have_text("red\n")
    with console.page.expect_event("requestfailed", lambda request: request.url.endswith("/execs/stream")):
        console.page.get_by_role("link", name="All containers").click()
    console.button("New container").first.click()
    refusal = {"error": {"message": "revoked", "code": "virtual_key_not_found"}}
    console.page.route("**/v1/containers?*", lambda route: route.fulfill(status=401, json=refusal))
    console.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")  # the list is loaded again
    expect(console.page.get_by_role("alert")).to_contain_text("revoked")
    expect(console.page.get_by_role("dialog")).to_have_count(0)
    assert console.page.evaluate("sessionStorage.getItem('berth.key')") is None


def test_an_expired_container_says_so(opened: Opened, container: str, berth: Berth) -> None:
    """A container that expires while it is shown is closed by the next refusal, and is expired in the list."""
    console = opened()
    url = f"{berth.rest}/v1/containers/{container}"
    with console.page.expect_response(f"{url}/files*"), console.page.expect_response(f"{url}/execs*"):
        console.open(KEY_A, f"#/containers/{container}")
    console.button("Run").wait_for()
    with closing(sqlite3.connect(berth.log.parent / "data" / "berth.db", timeout=20)) as database, database:
        database.execute(
            "UPDATE containers SET created_at = created_at - 9999, last_active_at = last_active_at - 9999 WHERE id = ?",
            (container,),
        )
    cell = console.run("1")
    expect(cell.get_by_role("alert")).to_contain_text("expired")
    expect(console.page.get_by_text("This container is expired")).to_be_visible()
    expect(console.button("Run")).to_be_hidden()
    expect(console.button("Choose files")).to_be_hidden()
    expect(console.page.get_by_role("alert")).to_have_count(1)
    expect(console.page.get_by_text("The files of this container are deleted.")).to_be_visible()
    console.page.get_by_role("link", name="All containers").click()
    row = console.page.get_by_role("row").filter(has_text=container)
    expect(row.get_by_text("expired", exact=True)).to_be_visible()


def test_a_deleted_container_says_so(opened: Opened) -> None:
    """The address of a container that does not exist has an error and the way back, and dots lead nowhere else."""
    console = opened()
    console.open(KEY_A, "#/containers/%2e%2e")
    expect(console.page.get_by_role("alert")).to_contain_text("The id '..' does not exist.")
    assert f"{console.url}/v1/" not in console.requests
    console.go("#/containers/cntr_none")
    expect(console.page.get_by_role("alert")).to_contain_text("It was deleted, or it belongs to somebody else.")
    console.page.get_by_role("link", name="All containers").click()
    expect(console.page.get_by_role("heading", name="Containers")).to_be_visible()


def test_hostile_files_do_not_run(opened: Opened, client: httpx2.Client) -> None:
    """Names, HTML and SVG from others are text: nothing in them runs, and nothing of them is an element."""
    made = client.post("/v1/containers", json={"provider": "groq", "name": HOSTILE, "metadata": {"x": HOSTILE}}).json()
    for name, content in (("page.html", HOSTILE), ("picture.svg", HOSTILE_SVG), ("fake.png", HOSTILE), ("<b>x", "x")):
        query = {"file_path": name, "content_type": "image/svg+xml"}
        client.post(f"/v1/containers/{made['id']}/files", params=query, content=content).raise_for_status()
    console = opened()
    console.open(KEY_A)
    console.page.get_by_role("link", name=HOSTILE).click()
    console.button("<b>x").wait_for()
    for name in ("page.html", "picture.svg", "fake.png"):
        console.button(name).click()
        expect(console.page.locator("dialog pre")).to_contain_text(HOSTILE)
        assert console.page.locator("dialog img, dialog svg:not(.icon), dialog script").count() == 0
        console.page.keyboard.press("Escape")
    cell = console.run(f"print({HOSTILE!r})\nopen('new.png', 'w').write({HOSTILE!r})")
    expect(cell.locator(".output")).to_contain_text(HOSTILE)
    expect(cell.get_by_role("button", name="new.png", exact=True)).to_be_visible()
    assert console.page.locator("main img, main b").count() == 0
    assert console.page.evaluate("window.hacked") is None
    assert (console.complaints, console.outside()) == ([], [])


def test_the_browser_itself_refuses_html(opened: Opened) -> None:
    """Text that is put into the page as HTML, an inline script and a picture of another place are all refused."""
    console = opened()
    with pytest.raises(Exception, match="TrustedHTML"):
        console.page.evaluate("document.body.innerHTML = '<b>x</b>'")
    policy = httpx2.get(f"{console.url}/console", timeout=30).headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "img-src 'self' blob:", "connect-src 'self'"} <= set(policy)


def test_the_files_of_the_api(opened: Opened, tmp_path: Path) -> None:
    """Files outside of containers are uploaded, shown, saved and deleted, and the usage counts what was done."""
    (tmp_path / "notes.txt").write_text("shown as text")
    console = opened()
    console.open(KEY_A, "#/files")
    console.page.get_by_label("Provider of uploads").select_option("groq")
    console.drop(tmp_path / "notes.txt")
    console.button("notes.txt").click()
    expect(console.page.locator("dialog pre")).to_have_text("shown as text")
    console.page.keyboard.press("Escape")
    with console.page.expect_download() as saved:
        console.button("Download notes.txt").click()
    assert saved.value.path().read_text() == "shown as text"
    console.delete("Delete notes.txt")
    expect(console.button("notes.txt")).to_have_count(0)
    console.page.get_by_role("link", name="Usage").click()
    expect(console.page.get_by_role("rowheader").first).to_be_visible()
    assert (console.complaints, console.outside()) == ([], [])


def test_a_lost_network_is_said_and_mended(opened: Opened) -> None:
    """While Berth cannot be reached there is a message; afterwards the console goes on without being loaded again."""
    console = opened()
    console.open(KEY_A)
    console.context.set_offline(True)
    console.button("Refresh").click()
    banner = console.page.get_by_text("Berth cannot be reached. Trying again…")
    expect(banner).to_be_visible(timeout=10_000)
    console.context.set_offline(False)
    expect(banner).to_be_hidden(timeout=10_000)
    console.create("after-the-loss")


def test_the_keyboard_is_enough(opened: Opened) -> None:
    """Dialogs take the focus and give it back, Escape closes them, and a view that is opened has the focus."""
    console = opened()
    console.open(KEY_A)
    console.button("New container").first.focus()
    console.page.keyboard.press("Enter")
    expect(console.page.get_by_role("dialog").get_by_label("Name")).to_be_focused()
    console.page.keyboard.press("Escape")
    expect(console.page.get_by_role("dialog")).to_have_count(0)
    expect(console.button("New container").first).to_be_focused()
    console.page.get_by_role("link", name="Usage").focus()
    console.page.keyboard.press("Enter")
    expect(console.page.locator("main")).to_be_focused()
    assert console.page.title() == "Usage \N{EN DASH} Berth console"


def test_everybody_can_use_it(opened: Opened, client: httpx2.Client, container: str) -> None:
    """The rules of axe for accessible pages find no fault in any view, in light and in dark colours."""
    client.post(f"/v1/containers/{container}/files", params={"file_path": "a.txt"}, content=b"x").raise_for_status()
    console = opened()
    found = console.faults_in_all_colours()
    console.sign_in("sk-bf-wrong")
    console.page.get_by_role("alert").wait_for()
    found += console.faults_in_all_colours()
    console.open(KEY_A)
    console.page.get_by_role("rowheader").first.wait_for()
    found += console.faults_in_all_colours()
    console.button("New container").first.click()
    found += console.faults_in_all_colours()
    console.page.keyboard.press("Escape")
    console.go(f"#/containers/{container}")
    cell = console.run("import sys\nprint(1)\nprint(2, file=sys.stderr)")
    expect(cell.get_by_text("exit 0", exact=True)).to_be_visible()
    console.page.locator(".last-call > summary").click()
    found += console.faults_in_all_colours()
    for route in ("#/files", "#/usage"):
        console.go(route)
        console.page.get_by_role("heading", level=1).wait_for()
        found += console.faults_in_all_colours()
    assert found == []


def test_it_fits_a_phone(opened: Opened, container: str) -> None:
    """At a width of 360 pixels nothing has to be scrolled sideways."""
    console = opened(viewport={"width": 360, "height": 640})
    console.open(KEY_A)
    for route in ("#/containers", f"#/containers/{container}", "#/files", "#/usage"):
        console.go(route)
        console.page.wait_for_load_state("networkidle")
        assert console.page.evaluate("document.documentElement.scrollWidth") == 360, route


def test_colours_can_be_chosen(opened: Opened) -> None:
    """The switch overrides the colours of the system, also after the page is loaded again."""
    console = opened(color_scheme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    light = console.page.evaluate(background)
    console.button("Colours of the system; change").click()
    console.button("Light colours; change").click()
    assert console.page.evaluate(background) != light
    console.page.reload()
    expect(console.button("Dark colours; change")).to_be_visible()
    assert console.page.evaluate(background) != light


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on PATH")
def test_a_call_can_be_repeated_elsewhere(opened: Opened, tmp_path: Path) -> None:
    """The last call is shown as commands and programs that work, however strange its texts are."""
    strange = 'it\'s "quoted" \\ 100 % $KEY'
    name = '-it\'s;type=x,"quoted"\\$KEY.txt'
    (tmp_path / name).write_text("x")
    console = opened()
    console.open(KEY_A)
    console.page.locator(".last-call > summary").click()
    console.page.get_by_label("Repeat it with").wait_for()
    listed = json_format.Parse(console.repeated(tmp_path, KEY_A), ListContainersRequest())
    assert (listed.limit, list(listed.include)) == (25, ["bytes"])
    console.create(strange)
    console.run(f"print({strange!r})").get_by_text("exit 0", exact=True).wait_for()
    sent = json_format.Parse(console.repeated(tmp_path, KEY_A), StreamContainerExecRequest())
    assert sent.code.source == f"print({strange!r})"
    console.page.get_by_role("link", name="Files").click()
    console.page.get_by_label("Provider of uploads").select_option("groq")
    console.drop(tmp_path / name)
    console.button(name).wait_for()
    text = console.repeated(tmp_path, KEY_A).replace("%s", "eA==").replace("%%", "%").replace("\\\\", "\\")
    uploaded = json_format.Parse(text, CreateFileRequest())
    assert (uploaded.filename, uploaded.provider, uploaded.body.data) == (name, Provider.PROVIDER_GROQ, b"x")
    assert all(run_programs(console.programs, tmp_path, KEY_A))
    assert len(console.programs) == 3
