"""What nobody has to watch over: who imports whom, how large modules are, what they are called."""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

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
    "web": {"web", "core", "v1"},
    "client": {"client", "v1"},
    "config": {"config", "launch", "core", "v1"},
    "launch": {"launch", "core", "v1"},
    "telemetry": {"telemetry"},
}
"""Which parts of the package each part may import; what joins them (the command line, the app) may import all."""

LENT = {"config": "berth.adapters.upstream.dialects."}
"""Modules of another part that a part may import all the same: values alone, which say what can be configured."""

HEAVY = {"grpc", "sqlite3", "alembic", "sqlalchemy", "pydantic", "structlog", "yaml", "typer", "httpx2"}
"""What the core does without."""

READERS = {"__main__", "config", "cli", "commands", "launch"}
"""Who may look at the environment: for settings, for the PATH that programs are found on, and for grpc's own."""

REQUESTS = {"AsyncClient", "Client", "delete", "get", "head", "options", "patch", "post", "put", "request", "stream"}
"""What of httpx2 makes requests."""

IN_SANDBOXES = {SERVICE / "core" / "exec" / "python" / "session.py"}
"""What runs in the interpreter of a sandbox alone; the environment there is that of the program it runs."""


def sources(root: Path) -> list[Path]:
    """Return all modules below `root` but the generated ones."""
    return sorted(path for path in root.rglob("*.py") if (SERVICE / "v1") not in path.parents)


def named(path: Path) -> str:
    """Return the path from the root of the repository."""
    return str(path.relative_to(ROOT))


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


def is_grpc(name: str) -> bool:
    return name.split(".", maxsplit=1)[0] in GRPC or "_pb2_grpc" in name


def reads_environment(path: Path) -> bool:
    return any(isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT for node in ast.walk(tree(path)))


def breaches(path: Path) -> list[str]:
    allowed = ALLOWED.get(part(path))
    lent = LENT.get(part(path), "-")
    ours = [name for name in imported(path) if name.startswith("berth.") and not name.startswith(lent)]
    return [] if allowed is None else [name for name in ours if name.split(".")[1] not in allowed]


SERVICE_MODULES = sources(SERVICE)
ALL_MODULES = SERVICE_MODULES + sources(TESTS)
# One test goes over all modules: to collect and report a test for each module took longer than the checks.


def test_the_rules_speak_of_parts_that_exist() -> None:
    """A rule for a part that was renamed would hold for nothing."""
    assert set(ALLOWED) <= {part(path) for path in SERVICE_MODULES}


def test_parts_import_only_what_they_may() -> None:
    """The core knows nobody; adapters, rpc, rest and web know the core and never each other."""
    assert {named(path): found for path in SERVICE_MODULES if (found := breaches(path))} == {}


def test_the_configuration_is_read_where_things_are_put_together() -> None:
    """Only the composition, the command line and the configuration itself know settings; all else is given values."""
    others = [path for path in SERVICE_MODULES if part(path) not in {"app", "cli", "commands", "config"}]
    assert [named(path) for path in others if any(name.startswith("berth.config") for name in imported(path))] == []


def test_only_server_and_client_know_grpc() -> None:
    """Neither the library nor the generated stubs are imported anywhere else."""
    others = [path for path in SERVICE_MODULES if part(path) not in {"rpc", "client"}]
    found = {path: [name for name in imported(path) if is_grpc(name)] for path in others}
    assert {named(path): names for path, names in found.items() if names} == {}


def test_the_core_needs_the_standard_library_alone() -> None:
    """Besides itself and the messages of the contract, the core imports what comes with Python."""
    known = sys.stdlib_module_names | {"berth"}
    roots = {path: {name.split(".")[0] for name in imported(path)} for path in sources(SERVICE / "core")}
    assert {named(path): found - known for path, found in roots.items() if found - known} == {}


def test_the_core_loads_nothing_heavy() -> None:
    """A process that has imported the whole core has loaded no server, no database and no client."""
    files = [path.relative_to(SERVICE.parent).with_suffix("") for path in sources(SERVICE / "core")]
    names = [".".join(path.parts) for path in files if path.stem != "__init__"]
    program = f"import sys; before = {{*sys.modules}}; import {', '.join(names)}; print(*{{*sys.modules}} - before)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert HEAVY & set(loaded.stdout.split()) == set()


def test_what_serves_does_not_load_rich() -> None:
    """A service has not loaded rich, which takes a while; commands that use it still can."""
    load = "import berth.commands.service.arguments as arguments; arguments._load_serving()"
    program = f"import sys; {load}; print(*sys.modules); import rich.console, rich.pretty"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert "structlog" in loaded.stdout.split()
    assert {"rich.console", "rich.pretty", "rich.traceback"} & set(loaded.stdout.split()) == set()


def test_the_environment_is_read_where_things_are_started() -> None:
    """What a module does depends on what it is given, not on variables around it."""
    others = [path for path in SERVICE_MODULES if part(path) not in READERS and path not in IN_SANDBOXES]
    assert [named(path) for path in others if reads_environment(path)] == []


def is_impatient(call: ast.Call) -> bool:
    """Return whether a call makes a request with httpx2, or a client for some, and leaves it at its five seconds."""
    match call.func:
        case ast.Attribute(value=ast.Name("httpx2"), attr=name) if name in REQUESTS:
            return not {"timeout", "transport"} & {keyword.arg for keyword in call.keywords}
    return False


def test_clients_in_tests_are_patient() -> None:
    """A client says how long it waits: the default is too short on a machine that is busy with other tests."""
    found = [
        f"{named(path)}:{node.lineno}"
        for path in sources(TESTS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and is_impatient(node)
    ]
    assert found == []


def test_a_module_has_at_most_400_lines() -> None:
    """What grows beyond that is two things."""
    lines = {named(path): len(path.read_text().splitlines()) for path in ALL_MODULES}
    assert {name: count for name, count in lines.items() if count > MAX_LINES} == {}


def test_a_folder_has_at_most_14_modules() -> None:
    """A reader takes in a folder at a glance; migrations are a list that grows."""
    counts = Counter(named(path.parent) for path in SERVICE_MODULES if path.stem != "__init__")
    counts.pop("service/berth/adapters/sql/schema/versions")
    assert {name: count for name, count in counts.items() if count > MAX_MODULES} == {}


def test_a_module_is_named_for_what_it_is() -> None:
    """Names that would fit anything are no names."""
    assert [named(path) for path in ALL_MODULES if VAGUE & set(path.stem.split("_"))] == []


def test_a_module_says_what_it_is_for() -> None:
    """Each module begins with a sentence."""
    first = {named(path): (ast.get_docstring(tree(path)) or "").split("\n")[0] for path in ALL_MODULES}
    assert {name: line for name, line in first.items() if not line.endswith(".")} == {}


def test_a_test_says_what_must_hold() -> None:
    """Each test has a docstring of one paragraph that ends like a sentence."""
    said = {
        f"{named(path)}::{node.name}": ast.get_docstring(node) or ""
        for path in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }
    assert [name for name, text in said.items() if not text.endswith(".") or "\n\n" in text] == []
