"""What can be set, and what can go wrong, is in the documentation."""

import re
import runpy
import shlex
import types
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.core import TyperGroup
from typer.main import get_command

from berth.adapters.prometheus.metrics import PrometheusMetrics
from berth.cli import commands
from berth.config import Config
from berth.rpc.options import CACHE_TYPE, HEADERS, ORGANIZATION, PROJECT
from support.error_codes import error_codes

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MAX_README_LINES = 150


def document(name: str) -> str:
    """Return the text of a document."""
    return (ROOT / "docs" / name).read_text()


def sections(annotation: object) -> Iterator[type[BaseModel]]:
    """Yield the models that stand anywhere in a type."""
    if (
        isinstance(annotation, type)
        and issubclass(annotation, BaseModel)
        and not isinstance(annotation, types.GenericAlias)
    ):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from sections(argument)


def command_names() -> Iterator[str]:
    """Yield the name of each command, with its group before it."""
    group: typing.Any = get_command(commands)
    for name, command in group.commands.items():
        inner = command.commands if isinstance(command, TyperGroup) else [""]
        yield from (f"{name} {one}".strip() for one in inner)


def command_lines() -> Iterator[str]:
    """Yield what follows `berth` in each line of a page that an operator enters."""
    for path in sorted((ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"```console\n(.*?)```", path.read_text(), re.DOTALL):
            joined = block.replace("\\\n", "")
            for line in re.findall(r"^ *[$#] (?:[A-Z_]+=\S+ )?(?:/\S+/)?berth (.*)$", joined, re.MULTILINE):
                yield line.partition(" > ")[0]


def settings(model: type[BaseModel]) -> Iterator[str]:
    """Yield the names of all settings that have no settings below them."""
    for name, field in model.model_fields.items():
        below = list(sections(field.annotation))
        if not below:
            yield name
        for section in below:
            yield from settings(section)


@pytest.mark.parametrize("name", sorted(set(settings(Config))))
def test_a_setting_is_documented(name: str) -> None:
    """Every setting is described, by its name."""
    assert re.search(rf"[`.]{name}` \|", document("configuration.md"))


def test_every_setting_describes_itself() -> None:
    """No setting has an empty description."""
    rows = [line for line in document("configuration.md").splitlines() if line.startswith("| `")]
    assert [row for row in rows if not row.rsplit("|", 2)[1].strip()] == []


def test_what_is_generated_is_fresh() -> None:
    """Each generated document is what `python docs/generate.py` writes."""
    documents = runpy.run_path(str(ROOT / "docs" / "generate.py"))["documents"]()
    stale = [name for name, text in documents.items() if (ROOT / name).read_text() != text]
    assert stale == [], "run `python docs/generate.py`"


def test_errors_are_documented() -> None:
    """The page about errors explains every code of the service and of Envoy, and no other one."""
    first = re.findall(r"^\|(?:[^|`]*\|)*? ((?:`[a-z_]+`(?:, )?)+)", document("errors.md"), re.MULTILINE)
    explained = [code for cell in first for code in re.findall("[a-z_]+", cell) if code != "code"]
    assert sorted(explained) == sorted(error_codes())


@pytest.mark.parametrize("header", sorted(HEADERS - {CACHE_TYPE, ORGANIZATION, PROJECT}))
def test_a_header_is_documented(header: str) -> None:
    """Every header that asks for something is in the description of the API."""
    assert f"`{header}`" in document("api.md")


@pytest.mark.parametrize("name", sorted(PrometheusMetrics().names()))
def test_a_metric_is_documented(name: str) -> None:
    """Every metric is in the page for those who run it."""
    assert f"`{name}`" in document("operations.md")


@pytest.mark.parametrize("path", sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name)
def test_programs_are_run(path: Path) -> None:
    """Each page with programs is named by a test that runs them; grpc-clients.md has parts of programs only."""
    has_programs = re.search("^```(?:python|sh|bash|js|ts|go|java)$", path.read_text(), re.MULTILINE)
    tests = "".join(test.read_text() for test in (ROOT / "tests" / "e2e").glob("test_*.py"))
    assert not has_programs or path.name == "grpc-clients.md" or f'"{path.relative_to(ROOT)}"' in tests


@pytest.mark.parametrize("line", [*command_lines()])
def test_a_command_line_can_be_entered(line: str) -> None:
    """Each command of Berth in a page exists, and has the options that are there."""
    command, arguments = get_command(commands), shlex.split(line)
    while isinstance(command, TyperGroup):
        command = command.commands[arguments.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {argument for argument in arguments if argument.startswith("-")} <= options


def test_the_readme_is_short() -> None:
    """The README has at most 150 lines; the rest is behind its links."""
    assert len(README.splitlines()) <= MAX_README_LINES


@pytest.mark.parametrize(
    "path", sorted({*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("docs/*/*.md")}), ids=lambda path: path.name
)
def test_links_lead_somewhere(path: Path) -> None:
    """Every link of a document to a file, and to a heading in it, leads to one that exists."""
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", path.read_text()):
        name, _, heading = target.partition("#")
        linked = (path.parent / name).resolve() if name else path
        assert linked.exists(), target
        if heading:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            assert heading in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, target


@pytest.mark.parametrize("name", sorted(command_names()))
def test_a_command_is_documented(name: str) -> None:
    """Every command is in the page about the command line."""
    group, _, command = name.rpartition(" ")
    assert re.search(rf"`(berth {group} ?)?[^`]*\b{command}\b[^`]*`", document("commands.md"))
