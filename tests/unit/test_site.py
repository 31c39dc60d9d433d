"""The site of docs/: each page is in it once, its links lead somewhere, and it needs no other host."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "site" / "build.py"
PYTHON = ROOT / ".venv" / "site" / "bin" / "python"
OUTSIDE = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>|url\([\"']?https?:")

needs_builder = pytest.mark.skipif(
    not PYTHON.with_name("zensical").exists(), reason="what builds the site is not installed: `make site` does that"
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a source tree whose pages a test may change."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for path in ROOT.iterdir():
        if path.name not in {"docs", "build"}:
            (tmp_path / path.name).symlink_to(path)
    return tmp_path


def built(tree: Path, *options: str) -> tuple[int, str]:
    """Build the site of a tree; return the exit code and what was printed."""
    command = [str(PYTHON), str(tree / "docs" / "site" / "build.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def contents(tree: Path, source: str | None = None) -> dict[str, bytes]:
    """Return all that the site of a tree is made of."""
    made: dict[str, bytes] = runpy.run_path(str(tree / "docs" / "site" / "build.py"))["contents"](source)
    return made


def test_each_page_is_in_the_site() -> None:
    """The navigation has each page once, and every link leads to a file that exists."""
    made = contents(ROOT)
    assert {"index.md", "deployment/mesh.md", "changelog.md", "pictures/console-light.png"} <= set(made)


def test_links_are_those_of_the_site() -> None:
    """Pages are linked by their title, and files of the source tree where `source` is, or not at all."""
    made = contents(ROOT)
    assert b"[Security](../security.md#authentication)" in made["deployment/mesh.md"]
    assert b"(quick-start.md)" in made["index.md"]
    assert b"The contract is in proto/berth/v1, one RPC" in made["grpc.md"]
    there = contents(ROOT, "https://git.example/berth/")
    assert b"[proto/berth/v1](https://git.example/berth/proto/berth/v1)" in there["grpc.md"]


@pytest.mark.parametrize(
    ("page", "text", "complaint"),
    [
        ("api.md", "[nothing](nothing.md)", "docs/api.md: there is no nothing.md"),
        ("new.md", "# New", "except new.md"),
    ],
)
def test_a_mistake_stops_the_build(tree: Path, page: str, text: str, complaint: str) -> None:
    """A link to nothing and a page that the navigation does not have are errors, before anything is built."""
    with (tree / "docs" / page).open("a") as file:
        file.write(f"\n{text}\n")
    with pytest.raises(Exception, match=complaint):
        contents(tree)


@needs_builder
def test_the_site_needs_no_other_host(tree: Path) -> None:
    """It is built without a warning, and no page loads a script, a style, a font or a picture from elsewhere."""
    status, said = built(tree)
    assert (status, "No issues found" in said) == (0, True), said
    site = tree / "build" / "site" / "html"
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 30
    assert {path.name: found for path in files if (found := OUTSIDE.findall(path.read_text()))} == {}


@needs_builder
def test_a_broken_anchor_stops_the_build(tree: Path) -> None:
    """A link to a heading that does not exist is an error."""
    with (tree / "docs" / "api.md").open("a") as file:
        file.write("\n[gone](errors.md#gone)\n")
    status, said = built(tree)
    assert (status, "anchor does not exist" in said) == (1, True), said
