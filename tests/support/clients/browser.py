"""A headless Chromium of the system, driven by Playwright, and a console that is open in it."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium on PATH; .ci/run installs it on Debian"
)
TIMEOUT_MS = 20_000
PICTURE = """
import struct, zlib
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
class Picture:
    def _repr_png_(self):
        head = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 3, 2, 8, 0, 0, 0, 0))
        return head + chunk(b"IDAT", zlib.compress(b"\\0abc" * 2)) + chunk(b"IEND", b"")
print("lines:", len(open("table.csv").readlines()))
Picture()
"""
"""A program that reads table.csv and displays a picture of three pixels by two."""
_BAD = {"error", "warning"}
_REST = """async (scheme) => {
    const frame = () => new Promise(requestAnimationFrame);
    const running = () => document.getAnimations().filter((one) => one.playState === "running");
    do {
        await frame();
        await frame();
        await Promise.allSettled(running().map((one) => one.finished));
    } while (!matchMedia(`(prefers-color-scheme: ${scheme})`).matches || running().length);
}"""
"""Waits until the page has the colours of a scheme, and they do not change any more."""
_TURN_ALL_PAGES = """async () => {
    let longest = 0;
    const watch = (list) => list.getEntries().forEach((task) => { longest = Math.max(longest, task.duration); });
    new PerformanceObserver(watch).observe({ type: "longtask" });
    const pager = document.querySelector(".pager");
    const next = [...pager.querySelectorAll("button")].at(-1);
    const place = pager.querySelector(":scope > span");
    const other = (text) => new Promise((resolve) => {
        const seen = () => place.textContent !== text && resolve();
        new MutationObserver(seen).observe(place, { childList: true });
    });
    while (!next.disabled) {
        const turned = other(place.textContent);
        next.click();
        await turned;
    }
    return longest;
}"""


@contextmanager
def running_browser() -> Iterator[Browser]:
    """Run a headless browser. As root it has no sandbox: Chromium refuses to start otherwise."""
    with sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page of Berth in a tab of its own. `complaints` are errors in it, `requests` the URLs that it has asked for."""

    def __init__(self, browser: Browser, url: str, path: str, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page: Page = self.context.new_page()
        self.url = url
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text) if said.type in _BAD else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"{url}{path}")

    def outside(self) -> list[str]:
        """Return the requests to anything but Berth; what a page has in itself needs none."""
        return [url for url in self.requests if not url.startswith((f"{self.url}/", "blob:", "data:"))]

    def faults_in_all_colours(self) -> list[str]:
        """Return the faults of the page in light colours, and those of its contrast in dark ones."""
        self._turn("light")
        found = self.faults()
        self._turn("dark")
        return found + self.faults(rules=["color-contrast"])

    def _turn(self, scheme: Literal["light", "dark"]) -> None:
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate(_REST, scheme)

    def faults(self, part: str | None = None, rules: list[str] | None = None) -> list[str]:
        """Return what the rules of axe for accessible pages find, all or some, in the whole page or a part of it."""
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        found = Axe().run(self.page, context=part, options=options).response["violations"]
        return [f"{fault['impact']} {fault['id']}: {[node['html'] for node in fault['nodes']]}" for fault in found]


class Console(Tab):
    """The console. `programs` are calls that can be repeated in Python."""

    def __init__(self, browser: Browser, url: str, **context: Any) -> None:
        super().__init__(browser, url, "/console", **context)
        self.programs: list[str] = []

    def sign_in(self, key: str) -> None:
        """Enter a key and press Enter."""
        self.page.get_by_label("Key").fill(key)
        self.page.keyboard.press("Enter")

    def open(self, key: str, route: str = "#/containers") -> None:
        """Sign in and go to a view."""
        self.sign_in(key)
        self.page.get_by_role("heading", name="Containers").wait_for()
        self.go(route)

    def go(self, route: str) -> None:
        """Go to a view."""
        self.page.evaluate("route => { location.hash = route; }", route)

    def create(self, name: str) -> None:
        """Create a container in the dialog, which opens it."""
        self.button("New container").first.click()
        self.page.get_by_role("dialog").get_by_label("Name").fill(name)
        self.button("Create").click()
        self.page.get_by_role("heading", name=name).wait_for()

    def delete(self, button: str) -> None:
        """Press a button that deletes something, and say yes."""
        self.button(button).click()
        self.page.get_by_role("dialog").get_by_role("button", name="Delete").click()

    def button(self, name: str) -> Locator:
        """Return the button with exactly this name."""
        return self.page.get_by_role("button", name=name, exact=True)

    def run(self, program: str, language: str = "python") -> Locator:
        """Start a program; return its cell."""
        self.page.get_by_label("Language").select_option(language)
        self.page.get_by_label("Program", exact=True).fill(program)
        self.button("Run").click()
        return self.page.locator("berth-cell").first

    def drop(self, *files: Path) -> None:
        """Drop files on the panel of files, as the browser does with what comes from a desktop."""
        box = self.page.locator("berth-files .drop").bounding_box()
        assert box is not None
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        protocol = self.context.new_cdp_session(self.page)
        for kind in ("dragEnter", "dragOver", "drop"):
            protocol.send("Input.dispatchDragEvent", {"type": kind, **place, "data": data})
        protocol.detach()

    def turn_all_pages(self) -> float:
        """Press the button for the next page until there is none; return the longest pause of the tab, in ms."""
        longest: float = self.page.evaluate(_TURN_ALL_PAGES)
        return longest

    def snippet(self, language: str) -> str:
        """Return the last call as a program."""
        self.page.get_by_label("Repeat it with").select_option(language)
        return self.page.get_by_label("The call as a program").inner_text()

    def repeated(self, folder: Path, key: str) -> str:
        """Make the last call again in `folder` with curl, and keep it as a program; return its message over gRPC."""
        require_success(["bash", "-c", self.snippet("curl")], folder, key)
        self.programs.append(self.snippet("python"))
        shown = self.snippet("grpc")
        assert self.url.removeprefix("http://") in shown.splitlines()[-1]
        found = re.search(r"'(\{.*\})'", shown, re.DOTALL)
        assert found is not None
        return found[1].replace("'\\''", "'")


Opened = Callable[..., Console]
"""Opens a console in a tab of its own; its arguments are those of a context of Playwright."""


def require_success(command: list[str], folder: Path, key: str) -> str:
    """Run a command that calls Berth; return its output, which is that of a success."""
    environ = {**os.environ, "KEY": key}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environ)
    assert (done.returncode, '"error"' in done.stdout, done.stdout != "") == (0, False, True), done
    return done.stdout


def run_programs(programs: list[str], folder: Path, key: str) -> list[str]:
    """Run programs one after the other in one interpreter, each by itself; return the output of each.

    Each imports OpenAI's SDK, which takes seconds for the first.
    """
    each = "import sys\nfor text in sys.argv[1:]:\n    exec(text, {'__name__': '__main__'})\n    print('\\0')"
    output = require_success([sys.executable, "-c", each, *programs], folder, key)
    return [one.strip() for one in output.split("\0")[:-1]]
