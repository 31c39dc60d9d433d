"""The documentation of the API in a real browser: every operation can be read, and tried out with a key."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, Locator, expect

from berth.web.site import site_files
from support.clients.browser import Tab, needs_browser
from support.servers.berth import KEY_A, Berth

pytestmark = needs_browser

HIDE_REPETITIONS = """
for (const row of document.querySelectorAll(".responses-table .response ~ .response")) row.hidden = true;
"""
"""The responses that an operation may have are all alike, and axe would take a minute for all of them."""


class Docs(Tab):
    """The documentation."""

    def dialog(self) -> Locator:
        """Open the dialog for keys; return the part for the first of the credentials."""
        self.page.get_by_role("button", name="Authorize").first.click()
        dialog = self.page.locator(".auth-container").first
        dialog.wait_for()
        return dialog

    def authorize(self, key: str) -> None:
        """Enter a key as the first of the credentials."""
        dialog = self.dialog()
        dialog.locator("input").fill(key)
        dialog.get_by_role("button", name="Apply credentials").click()
        self.page.get_by_role("button", name="Close").first.click()

    def operation(self, name: str) -> Locator:
        """Open an operation, unless it is open."""
        block = self.page.locator(f"[id$=-{name}]")
        summary = block.locator(".opblock-summary-control")
        if summary.get_attribute("aria-expanded") == "false":
            summary.click()
        block.get_by_role("button", name="Try it out").wait_for()
        return block

    def tried(self, name: str) -> Locator:
        """Open an operation, to try it out."""
        block = self.operation(name)
        block.get_by_role("button", name="Try it out").click()
        return block

    def unexpected(self) -> list[str]:
        """Return the complaints but those about requests without a key, which the browser repeats."""
        return [text for text in self.complaints if "401 (Unauthorized)" not in text]

    def execute(self, block: Locator, status: int) -> Any:
        """Send the request of an operation; return the JSON of its response, which has this status."""
        with self.page.expect_response(lambda response: response.request.resource_type == "fetch") as answer:
            block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table .response-col_status").last).to_contain_text(str(status))
        return answer.value.json()


@pytest.fixture(scope="module")
def docs(berth: Berth, browser: Browser) -> Iterator[Docs]:
    """Open the page, once, because Swagger UI takes seconds; each test leaves it as it was."""
    docs = Docs(browser, berth.rest, "/docs")
    yield docs
    docs.context.close()


def test_each_operation_is_shown_with_its_examples(docs: Docs) -> None:
    """All operations of the document are there; the keyboard opens one, and only what is entered is sent."""
    paths = json.loads(site_files()["/openapi.json"].read_bytes())["paths"]
    expect(docs.page.locator(".opblock")).to_have_count(sum(map(len, paths.values())))
    docs.authorize("sk-bf-wrong")
    listed = docs.page.locator("[id$=-listContainers]")
    listed.locator(".opblock-summary-control").focus()
    docs.page.keyboard.press("Enter")
    expect(listed.locator("[data-param-name=order]")).to_contain_text("Example : asc")
    assert docs.page.url.endswith("/docs#/Containers/listContainers")
    listed.get_by_role("button", name="Try it out").click()
    with docs.page.expect_request(lambda request: "/v1/containers" in request.url) as sent:
        assert docs.execute(listed, 401)["error"]["code"] == "virtual_key_not_found"
    assert sent.value.url == f"{docs.url}/v1/containers"
    listed.locator(".opblock-summary-control").focus()
    docs.page.keyboard.press("Enter")
    expect(listed.locator("[data-param-name=order]")).to_have_count(0)
    assert (docs.unexpected(), docs.outside()) == ([], [])
    docs.page.reload()


def test_operations_are_tried_out(docs: Docs, client: httpx2.Client, tmp_path: Path) -> None:
    """With a key a container is created from the example, and a file is uploaded in a form; the key is kept nowhere."""
    (tmp_path / "table.csv").write_bytes(b"a,b\n1,2\n")
    docs.authorize(KEY_A)
    made = docs.execute(docs.tried("createContainer"), 200)
    assert made["name"] == "my-container"
    upload = docs.tried("createContainerFile")
    expect(upload.locator("[data-property-name=file_path]")).to_contain_text("Example : hello.txt")
    upload.get_by_placeholder("container_id").fill(made["id"])
    upload.locator("input[type=file]").set_input_files(tmp_path / "table.csv")
    file = docs.execute(upload, 200)
    content = client.get(f"/v1/containers/{made['id']}/files/{file['id']}/content").content
    assert content == b"a,b\n1,2\n"
    assert (docs.unexpected(), docs.outside()) == ([], [])
    assert docs.page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    docs.page.reload()
    assert docs.dialog().locator("input").input_value() == ""


def test_everybody_can_use_it(docs: Docs) -> None:
    """The rules of axe find no fault in a form that is tried out, in a response, and in the dialog for keys."""
    docs.page.reload()
    docs.execute(docs.tried("isAlive"), 200)
    docs.tried("createFile")
    docs.page.evaluate(HIDE_REPETITIONS)
    assert docs.faults_in_all_colours() == []
    expect(docs.page.locator("html.dark-mode")).to_have_count(1)
    docs.dialog()
    assert docs.faults(".dialog-ux") == []
    docs.page.reload()
