"""The Python of sandboxes: a folder that `berth runtime create` prepares."""

import subprocess
import sys
from pathlib import Path

import pytest

from berth.core.errors import StorageError
from support.sandboxes.opened import Opened, driver

each_driver = pytest.mark.parametrize("sandbox", ["overlay", "gvisor"], indirect=True)
BERTH = str(Path(sys.executable).parent / "berth")


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Return a package that needs no index."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (tmp_path / "source" / "backend.py").write_text(_BACKEND)
    return tmp_path / "source"


@each_driver
def test_a_prepared_folder_is_the_python_of_commands(sandbox: Opened, wheel: Path, tmp_path: Path) -> None:
    """Commands import what was installed, compiled, and cannot change it."""
    folder = tmp_path / "runtime"
    subprocess.run([BERTH, "runtime", "create", folder, wheel], check=True, capture_output=True, timeout=100)
    prepared = driver(sandbox.kind, sandbox.folder, runtime=folder)
    source = "import given, os; print(given.VALUE, os.path.exists(given.__cached__)); open(given.__file__, 'a')"
    ran = Opened(prepared, sandbox.folder, sandbox.runner).python(source)
    sandbox.wait(prepared.close())
    assert ran.stdout == b"5 True\n"
    assert ran.result.exit_code == 1


@each_driver
def test_a_folder_that_is_no_runtime_is_an_error(sandbox: Opened, tmp_path: Path) -> None:
    """The error names the command that makes one, and the probe the setting, and nothing that would not help."""
    prepared = driver(sandbox.kind, sandbox.folder, runtime=tmp_path)
    reason = sandbox.wait(prepared.probe())
    assert reason is not None
    assert reason.startswith(f"exec.runtime: {tmp_path} is no runtime")
    assert reason.endswith("make one with `berth runtime create`")
    with pytest.raises(StorageError, match="berth runtime create"):
        Opened(prepared, sandbox.folder, sandbox.runner).run("true")


def test_a_runtime_replaces_nothing(tmp_path: Path) -> None:
    """A folder that exists is refused and stays as it is."""
    (tmp_path / "kept").touch()
    ran = subprocess.run([BERTH, "runtime", "create", tmp_path], check=False, capture_output=True, timeout=60)
    assert (ran.returncode, (tmp_path / "kept").exists()) == (1, True)


_BACKEND = """
import zipfile
def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/given-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("given.py", "VALUE = 5\\n")
        wheel.writestr("given-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: given\\nVersion: 1\\n")
        wheel.writestr("given-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("given-1.dist-info/RECORD", "")
    return "given-1-py3-none-any.whl"
"""


def test_a_package_that_cannot_be_installed_leaves_no_folder(tmp_path: Path) -> None:
    """The message says that pip failed, after pip's own, and what was made is removed."""
    ran = subprocess.run(
        [BERTH, "runtime", "create", tmp_path / "runtime", tmp_path / "nothing.whl"],
        check=False,
        capture_output=True,
        timeout=100,
    )
    assert (ran.returncode, list(tmp_path.iterdir())) == (1, [])
    assert ran.stderr.endswith(b"berth: the runtime cannot be made: pip failed, for the reason above\n")
