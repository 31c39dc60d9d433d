"""Writes the documents that are generated from the code: the settings (a page and a JSON schema) and the REST API.

`generate.py --check` fails if one of them is stale.
"""

import sys
from pathlib import Path

import orjson

from berth.config.reference import markdown, schema
from berth.rest.openapi.document import openapi_document
from berth.rest.view import load_contract

ROOT = Path(__file__).resolve().parent.parent


def documents() -> dict[str, str]:
    """Return the text of each file, by its path in the repository."""
    return {
        "docs/configuration.md": markdown(),
        "docs/berth.schema.json": _json(schema()),
        "service/berth/web/pages/openapi.json": _json(openapi_document(load_contract())),
    }


def _json(document: object) -> str:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def check() -> None:
    """Exit with an error if a document is stale."""
    stale = [name for name, text in documents().items() if (ROOT / name).read_text() != text]
    if stale:
        sys.exit(f"{', '.join(stale)}: stale, run `make generate`")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check()
    else:
        for name, text in documents().items():
            (ROOT / name).write_text(text)
