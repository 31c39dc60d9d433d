"""Describes the settings: as a JSON schema for editors and as a Markdown page for people.

Both are generated from the types, defaults and docstrings of the settings.
"""

import ast
import inspect
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import to_json
from pydantic_core.core_schema import ModelSchema

from berth.config.model import Config
from berth.launch.address import Address

Json = dict[str, Any]

SCHEMA_URL = "https://json-schema.org/draft/2020-12/schema"
_INTRODUCTION = """\
# Configuration

Generated from the code of the settings by `python docs/generate.py`.

The configuration is one YAML file, given as `--config FILE` or `BERTH_CONFIG`. Each setting can also be given as an
environment variable, which overrides the file: `listen.rest` is `BERTH_LISTEN__REST`; lists and maps are written as
JSON. If a setting is unknown, invalid or incomplete, Berth does not start and names the setting. Numbers are decimal:
`020` and `1:30`, which YAML reads as 16 and 90, are refused. A name that occurs twice in a map is refused, and so are
more than 32 levels of lists and maps. The file has at most 4194304 bytes. In a path, `~` at the beginning is the home
folder.

A secret can be `env:NAME`, the content of a variable, or `file:PATH`, the content of a file of at most 65536 bytes.
One newline at the end of either is removed, and nothing else.

`berth config check` reads the configuration, reports all problems, and refuses what a reload would refuse: see
[operations.md](operations.md#reload). `berth config schema` prints a JSON schema, which is also in
[berth.schema.json](berth.schema.json): with `# yaml-language-server: $schema=docs/berth.schema.json` as the first line
of the file, editors complete and check it.
"""


def schema() -> Json:
    """Return the JSON schema of the configuration file."""
    whole: Json = {"$schema": SCHEMA_URL, **Config.model_json_schema(schema_generator=_Schema)}
    described: Json = _without_titles(whole)
    return described | {"title": "Berth"}


def markdown() -> str:
    """Return the page that describes every setting."""
    rows = [f"| `{path}` | {default} | {text} |" for path, default, text in _rows(schema())]
    return "\n".join([_INTRODUCTION, "| setting | default | description |", "|---|---|---|", *rows, ""])


class _Schema(GenerateJsonSchema):
    """Describes settings by their docstrings, and writes defaults in the notation of the configuration file."""

    def model_schema(self, schema: ModelSchema) -> Json:
        """Return the schema of a section."""
        described = super().model_schema(schema)
        for name, text in _docstrings(schema["cls"]):
            described["properties"][name].setdefault("description", text)
        return described

    def encode_default(self, dft: Any) -> Any:
        """Return a default as JSON; addresses become text."""
        return str(dft) if isinstance(dft, Address) else super().encode_default(dft)


def _docstrings(section: type) -> Iterator[tuple[str, str]]:
    """Yield the settings of a section with what is written below them, the inherited ones first.

    Pydantic can do this, too, but reads the source of all sections for it at each start of Berth.
    """
    for inherited in section.__bases__:
        if inherited.__module__.startswith("berth."):
            yield from _docstrings(inherited)
    [definition] = ast.parse(inspect.getsource(section)).body
    if isinstance(definition, ast.ClassDef):
        for setting, text in pairwise(definition.body):
            match setting, text:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(written))):
                    yield name, inspect.cleandoc(written)


def _rows(whole: Json) -> Iterator[tuple[str, str, str]]:
    """Yield the path, the default and the description of every setting that is not a section."""
    waiting: list[tuple[str, Json]] = [("", whole)]
    while waiting:
        path, section = waiting.pop(0)
        below: list[tuple[str, Json]] = []
        for name, setting in section["properties"].items():
            where = f"{path}{name}"
            inner, suffix = _inner(setting, whole)
            if inner is not None:
                below.append((f"{where}{suffix}.", inner))
            if inner is None or suffix:
                is_required = name in section.get("required", ())
                yield where, _default(setting, is_required=is_required), _text(setting)
        waiting = below + waiting


def _inner(setting: Json, whole: Json) -> tuple[Json | None, str]:
    """Return the section that a setting is or contains, and its path's suffix: `[]` for lists, `.<name>` for maps."""
    for candidate in (setting, *setting.get("anyOf", ())):
        if "$ref" in candidate:
            return whole["$defs"][candidate["$ref"].rpartition("/")[2]], ""
        if "$ref" in candidate.get("items", {}):
            return _inner(candidate["items"], whole)[0], "[]"
        values = candidate.get("additionalProperties")
        if isinstance(values, Mapping) and "$ref" in values:
            return _inner(dict(values), whole)[0], ".<name>"
    return None, ""


def _default(setting: Json, *, is_required: bool) -> str:
    if is_required:
        return "required"
    default = setting.get("default")
    return "none" if default in (None, [], {}) else f"`{to_json(default).decode().strip(chr(34))}`"


def _text(setting: Json) -> str:
    return " ".join(setting.get("description", "").split())


def _without_titles(value: Any) -> Any:
    """Return a schema without titles, which only repeat the names."""
    if isinstance(value, dict):
        return {
            name: _without_titles(one) for name, one in value.items() if name != "title" or not isinstance(one, str)
        }
    return [_without_titles(one) for one in value] if isinstance(value, list) else value
