"""What nobody has to watch over: who imports whom, how large modules are, what they are called."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SERVICE = ROOT / "service" / "berth"
TESTS = ROOT / "tests"
MAX_LINES = 400
MAX_MODULES = 14
VAGUE = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}
GRPC = {"grpc", "grpc_health", "grpc_reflection"}
ENVIRONMENT = {"environ", "getenv", "environb"}

ALLOWED = {
    "core": {"core", "v1"},
    "adapters": {"adapters", "core", "v1"},
    "rpc": {"rpc", "core", "v1"},
    "rest": {"rest", "core", "v1"},
    "client": {"client", "v1"},
    "config": {"config", "launch", "core", "v1"},
    "launch": {"launch", "core", "v1"},
    "telemetry": {"telemetry"},
}
"""Which parts of the package each part may import; what joins them (the command line, the app) may import all."""

HEAVY = {"grpc", "sqlite3", "alembic", "sqlalchemy", "pydantic", "structlog", "yaml", "typer", "httpx2"}
"""What the core does without."""

READERS = {"__main__", "config", "cli", "commands", "launch"}
"""Who may look at the environment: for settings, for the PATH that programs are found on, and for grpc's own."""


def sources(root: Path) -> list[Path]:
    """Return all modules below `root` but the generated ones."""
    return sorted(path for path in root.rglob("*.py") if (SERVICE / "v1") not in path.parents)


def folders() -> list[Path]:
    """Return the folders of the package but the generated one."""
    return sorted({path.parent for path in sources(SERVICE)})


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of each module that a module imports, wherever in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{name.name}" for name in node.names)


def part(path: Path) -> str:
    """Return the part of the package that a module belongs to: a folder, or the module itself."""
    return path.relative_to(SERVICE).parts[0].removesuffix(".py")


def breaches(path: Path) -> list[str]:
    allowed = ALLOWED.get(part(path))
    ours = [name for name in imported(path) if name.startswith("berth.")]
    return [] if allowed is None else [name for name in ours if name.split(".")[1] not in allowed]


service_modules = pytest.mark.parametrize("path", sources(SERVICE), ids=lambda path: str(path.relative_to(SERVICE)))
all_modules = pytest.mark.parametrize(
    "path", sources(SERVICE) + sources(TESTS), ids=lambda path: str(path.relative_to(ROOT))
)
suites = pytest.mark.parametrize(
    "path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: str(path.relative_to(TESTS))
)


def test_the_rules_speak_of_parts_that_exist() -> None:
    """A rule for a part that was renamed would hold for nothing."""
    assert set(ALLOWED) <= {part(path) for path in sources(SERVICE)}


@service_modules
def test_parts_import_only_what_they_may(path: Path) -> None:
    """The core knows nobody; adapters, rpc and rest know the core and never each other."""
    assert breaches(path) == []


@service_modules
def test_the_configuration_is_read_where_things_are_put_together(path: Path) -> None:
    """Only the composition, the command line and the configuration itself know settings; all else is given values."""
    reads = any(name.startswith("berth.config") for name in imported(path))
    assert not reads or part(path) in {"app", "cli", "commands", "config"}


@service_modules
def test_only_server_and_client_know_grpc(path: Path) -> None:
    """Neither the library nor the generated stubs are imported anywhere else."""
    knows = any(name.split(".")[0] in GRPC or "_pb2_grpc" in name for name in imported(path))
    assert not knows or part(path) in {"rpc", "client"}


@pytest.mark.parametrize("path", sources(SERVICE / "core"), ids=lambda path: path.name)
def test_the_core_needs_the_standard_library_alone(path: Path) -> None:
    """Besides itself and the messages of the contract, the core imports what comes with Python."""
    roots = {name.split(".")[0] for name in imported(path)}
    assert roots - {"berth"} <= sys.stdlib_module_names


def test_the_core_loads_nothing_heavy() -> None:
    """A process that has imported the whole core has loaded no server, no database and no client."""
    files = [path.relative_to(SERVICE.parent).with_suffix("") for path in sources(SERVICE / "core")]
    names = [".".join(path.parts) for path in files if path.stem != "__init__"]
    program = f"import sys; before = {{*sys.modules}}; import {', '.join(names)}; print(*{{*sys.modules}} - before)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert HEAVY & set(loaded.stdout.split()) == set()


@service_modules
def test_the_environment_is_read_where_things_are_started(path: Path) -> None:
    """What a module does depends on what it is given, not on variables around it."""
    reads = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT]
    assert not reads or part(path) in READERS


@all_modules
def test_a_module_has_at_most_400_lines(path: Path) -> None:
    """What grows beyond that is two things."""
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("folder", folders(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_has_at_most_14_modules(folder: Path) -> None:
    """A reader takes in a folder at a glance."""
    assert len([path for path in folder.glob("*.py") if path.stem != "__init__"]) <= MAX_MODULES


@all_modules
def test_a_module_is_named_for_what_it_is(path: Path) -> None:
    """Names that would fit anything are no names."""
    assert not VAGUE & set(path.stem.split("_"))


@all_modules
def test_a_module_says_what_it_is_for(path: Path) -> None:
    """Each module begins with a sentence."""
    assert (ast.get_docstring(tree(path)) or "").split("\n")[0].endswith(".")


@suites
def test_a_test_says_what_must_hold(path: Path) -> None:
    """Each test has a docstring of one paragraph that ends like a sentence."""
    tests = [
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    said = {node.name: ast.get_docstring(node) or "" for node in tests}
    assert [name for name, text in said.items() if not text.endswith(".") or "\n\n" in text] == []
