"""Generates service/berth/v1 from proto/, or checks that it is up to date.

`generate.py` writes the messages, the service stubs, their type stubs and the descriptor set with comments, and copies
the proto files into the package. `generate.py --check` generates into a temporary folder, compares the result, lints
the contract, and rejects changes that break clients of the main branch (or, on main, of the previous commit).
"""

import filecmp
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
PACKAGE = Path("berth/v1")
DESCRIPTOR = "contract.binpb"
BIN = Path(sys.executable).parent


def generate(target: Path) -> None:
    """Write the generated files and copies of the proto files to `target`/berth/v1."""
    (target / PACKAGE).mkdir(parents=True, exist_ok=True)
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    services = [name for name in files if name.endswith("_service.proto")]
    protoc(files, f"--python_out={target}", f"--pyi_out={target}")
    protoc(services, f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}")
    protoc(
        files,
        "--include_imports",
        "--include_source_info",
        f"--descriptor_set_out={target / PACKAGE / DESCRIPTOR}",
    )
    for name in files:
        shutil.copyfile(PROTO / name, target / name)
    (target / PACKAGE / "__init__.py").write_text('"""The contract, generated from proto/berth/v1: never edited."""\n')


def protoc(files: list[str], *options: str) -> None:
    """Run protoc; the google/api protos come from googleapis-common-protos."""
    includes = [f"-I{PROTO}", f"-I{sysconfig.get_path('purelib')}"]
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    run(sys.executable, "-m", "grpc_tools.protoc", *includes, *options, *files, env=environment)


def run(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command in the root of the repository; exit with its status if it fails."""
    status = subprocess.run(command, cwd=ROOT, env=env, check=False).returncode
    if status:
        sys.exit(status)


def check(target: Path) -> None:
    """Exit with an error if service/berth/v1 is stale, or the contract fails linting or breaks clients."""
    generate(target)
    fresh, kept = target / PACKAGE, ROOT / "service" / PACKAGE
    names = {path.name for folder in (fresh, kept) for path in folder.iterdir() if path.is_file()}
    _, different, missing = filecmp.cmpfiles(fresh, kept, sorted(names), shallow=False)
    if stale := different + missing:
        sys.exit(f"service/berth/v1 is stale ({', '.join(stale)}): run `make proto`")
    descriptor = str(fresh / DESCRIPTOR)
    run(str(BIN / "buf"), "lint", descriptor, "--config", "buf.yaml")
    if before := contract_before(target):
        run(str(BIN / "buf"), "breaking", descriptor, "--config", "buf.yaml", "--against", str(before))


def contract_before(target: Path) -> Path | None:
    """Return the path of the previous contract, from main or the previous commit; None if there is none."""
    on_main = git("rev-parse", "HEAD") == git("rev-parse", "main")
    contract = git("show", f"{'HEAD~1' if on_main else 'main'}:service/{PACKAGE}/{DESCRIPTOR}")
    if not contract:
        return None
    path = target / "before.binpb"
    path.write_bytes(contract)
    return path


def git(*arguments: str) -> bytes:
    """Return git's output, empty if git fails, as in a tree without history."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False).stdout


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        with tempfile.TemporaryDirectory() as folder:
            check(Path(folder))
    else:
        shutil.rmtree(ROOT / "service" / PACKAGE, ignore_errors=True)
        generate(ROOT / "service")
