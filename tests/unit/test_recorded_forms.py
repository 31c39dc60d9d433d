"""Upload forms recorded from real clients, with file names that need quoting or escaping.

`support/forms/recorded.json` has the body of each request, with a fixed boundary. An
entry with `"recorded": false` is written after the client's source code. An
entry with `expected` is read under another name than the user's; its `note`
says what the client does to the name.
"""

import json
from pathlib import Path
from typing import NotRequired, TypedDict

import pytest

from berth.core.paths import clean_filename
from support.forms.parts import read

RECORDED = json.loads((Path(__file__).parents[1] / "support/forms/recorded.json").read_text(encoding="utf-8"))

NAMES = {
    "plain.txt",
    "日本語 ü.txt",
    'say "hi".txt',
    "a;b=c.txt",
    "100% & 'x'.txt",
    "back\\slash.txt",
    "=?utf-8?B?w7w=?=.txt",
    "emoji 🚢.bin",
    "a name.with.dots ",
    "plus+and%20percent.txt",
}

CLIENTS = {
    "openai-python",
    "openai-node (memory)",
    "openai-node (stream)",
    "openai-go",
    "openai-java",
    "curl",
    "curl (--form-escape)",
    "requests",
    "requests (open file)",
    "aiohttp",
    "aiohttp (quote_fields=False)",
    "Chromium (fetch)",
    "Chromium (form)",
    ".NET HttpClient",
}


class RecordedForm(TypedDict):
    """One request: its headers and body, and the name that the user's file has."""

    client: str
    recorded: bool
    filename: str
    content_type: str
    body: str
    expected: NotRequired[str]
    note: NotRequired[str]


def without_version(client: str) -> str:
    return " ".join(word for word in client.split() if not word[0].isdigit())


@pytest.mark.parametrize("sent", RECORDED["forms"], ids=lambda sent: f"{sent['client']}: {sent['filename']}")
def test_a_recorded_form_is_read(sent: RecordedForm) -> None:
    """The file has the user's name, or the one that the entry expects, and the content that was uploaded."""
    form = read(sent["body"].encode(), content_type=sent["content_type"])
    assert clean_filename(form.filename) == sent.get("expected", sent["filename"])
    assert form.content == b"hello"


def test_every_client_is_recorded_with_every_name() -> None:
    """Each client sends each name, or the fixture says why it does not."""
    names: dict[str, set[str]] = {}
    for entry in RECORDED["forms"] + RECORDED["skipped"]:
        names.setdefault(without_version(entry["client"]), set()).add(entry["filename"])
    assert names == dict.fromkeys(CLIENTS, NAMES)
