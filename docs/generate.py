"""Writes the documents that are generated from the code: the settings, as a page and as a JSON schema.

`tests/test_docs.py` fails if one of them is stale.
"""

from pathlib import Path

import orjson

from berth.config.reference import markdown, schema

FOLDER = Path(__file__).resolve().parent


def documents() -> dict[str, str]:
    """Return the text of each file, by file name."""
    described = orjson.dumps(schema(), option=orjson.OPT_INDENT_2).decode()
    return {"configuration.md": markdown(), "berth.schema.json": f"{described}\n"}


if __name__ == "__main__":
    for name, text in documents().items():
        (FOLDER / name).write_text(text)
