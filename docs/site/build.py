"""Builds the site: copies the pages into build/site and has Zensical make build/site/html of them.

On a code host the pages link to each other and to files of the source tree. In the site, links to pages are kept, and
those to other files lead to `--source URL`, or are plain text without it. A link that shows the name of a page, such as
`api.md`, shows its title. A link to nothing, and a page that the navigation does not have, is an error; Zensical finds
broken anchors.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
CONFIG = Path(__file__).with_name("zensical.toml")
STAGE = ROOT / "build" / "site"
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "reporting.md",
}
"""Pages that are not in docs/, and what they are called in the site."""
_PART = re.compile(
    r"(?P<code>^```.*?^```$|`[^`\n]+`)|\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)", re.DOTALL | re.MULTILINE
)
"""Matches code, in which nothing is a link, and links."""


class SiteError(Exception):
    """A page cannot become part of the site."""


def pages() -> dict[str, str]:
    """Return the path of each page in the site, by its path in the repository."""
    inside = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return OUTSIDE | {name: name.removeprefix("docs/") for name in inside}


def assets() -> dict[str, str]:
    """Return the same for the other files that pages show or offer."""
    files = [*(ROOT / "docs" / "pictures").iterdir(), ROOT / "docs" / "berth.schema.json"]
    names = sorted(path.relative_to(ROOT).as_posix() for path in files)
    return {name: name.removeprefix("docs/") for name in names}


def page(name: str, known: dict[str, str], source: str | None) -> str:
    """Return the text of a page of the repository, with the links of the site; `known` has all files of the site."""

    def linked(found: re.Match[str]) -> str:
        to = found["to"]
        if found["code"] or to.startswith(("http://", "https://", "#")):
            return found[0]
        return _link(name, found["text"], to, known, source)

    return _PART.sub(linked, (ROOT / name).read_text(encoding="utf-8"))


def _link(name: str, text: str, to: str, known: dict[str, str], source: str | None) -> str:
    path, hash_, anchor = to.partition("#")
    target = PurePosixPath(os.path.normpath(PurePosixPath(name).parent / path)).as_posix()
    if not (ROOT / target).exists():
        raise SiteError(f"{name}: there is no {to}")
    if target in known:
        start = PurePosixPath(known[name]).parent
        shown = _title(target) if text.endswith(".md") else text
        return f"[{shown}]({os.path.relpath(known[target], start)}{hash_}{anchor})"
    return f"[{text}]({source.rstrip('/')}/{target})" if source else text


def _title(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def navigation() -> list[str]:
    """Return the pages in the order of the navigation."""

    def listed(item: object) -> Iterator[str]:
        if isinstance(item, str):
            yield item
        for part in item.values() if isinstance(item, dict) else item if isinstance(item, list) else ():
            yield from listed(part)

    return list(listed(tomllib.loads(CONFIG.read_text(encoding="utf-8"))["project"]["nav"]))


def check_navigation() -> None:
    """Raise SiteError unless the navigation has each page once."""
    listed, wanted = navigation(), set(pages().values())
    wrong = {*wanted.symmetric_difference(listed), *(one for one in listed if listed.count(one) > 1)}
    if wrong:
        raise SiteError(f"{CONFIG.name} has each page once, except {', '.join(sorted(wrong))}")


def contents(source: str | None = None) -> dict[str, bytes]:
    """Return all that the site is made of, by its path there."""
    check_navigation()
    files = assets()
    known = pages() | files
    texts = {to: page(name, known, source).encode() for name, to in pages().items()}
    return texts | {to: (ROOT / name).read_bytes() for name, to in files.items()}


def build(source: str | None) -> None:
    """Write the pages into build/site and run Zensical there."""
    shutil.rmtree(STAGE, ignore_errors=True)
    for name, content in contents(source).items():
        path = STAGE / "pages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    shutil.copy(CONFIG, STAGE)
    program = Path(sys.executable).with_name("zensical")
    subprocess.run([program, "build", "--clean", "--strict"], cwd=STAGE, check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--source", help="where the source tree is on the web, such as https://HOST/OWNER/berth/blob/main"
    )
    try:
        build(parser.parse_args().source)
    except (SiteError, subprocess.CalledProcessError) as error:
        sys.exit(f"site: {error}")
