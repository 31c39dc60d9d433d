"""The documents are true: their examples run as they stand."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from berth.config import load
from support.servers.berth import Berth, environment, running

ROOT = Path(__file__).parent.parent.parent
README, API, COMMANDS, OPERATIONS = "README.md", "docs/api.md", "docs/commands.md", "docs/operations.md"


def blocks(document: str, language: str) -> list[str]:
    """Return the code blocks of a language in a document, in their order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / document).read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """Start a Berth as a stranger has it: without any configuration."""
    with running(tmp_path_factory.mktemp("readme"), {}) as berth:
        yield berth


def run(berth: Berth, program: list[str], text: str) -> str:
    """Run an example against `berth`, with the first key; return what it prints."""
    text = text.replace("127.0.0.1:8080", urlsplit(berth.rest).netloc).replace("127.0.0.1:50051", berth.grpc)
    variables = environment() | {"KEY": berth.virtual_key or ""}
    done = subprocess.run(
        [*program, text], env=variables, cwd=berth.log.parent, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shell(berth: Berth) -> None:
    """The curl lines create a container, put two files into it, and get the last one back."""
    create, upload = blocks(README, "sh")
    (shown,) = (json.loads(block) for block in blocks(README, "json") if '"cntr_' in block)
    created = json.loads(run(berth, ["bash", "-euc"], create))
    assert set(created) == set(shown)
    assert set(created["extra_fields"]) == set(shown["extra_fields"])
    assert run(berth, ["bash", "-euc"], upload).endswith("# Notes")


def test_python(berth: Berth) -> None:
    """The examples for the SDK and for gRPC print the path and the content of their file."""
    (sdk,), (grpc,) = blocks(README, "python"), blocks(API, "python")
    assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-hello.txt hello\n", run(berth, [sys.executable, "-c"], sdk))
    assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-hello.txt b'hello'\n", run(berth, [sys.executable, "-c"], grpc))


def test_command_line(berth: Berth) -> None:
    """The commands, with the folder of that Berth, bring back what they sent."""
    (text,) = blocks(COMMANDS, "bash")
    folder = berth.log.parent
    place = f'berth() {{ "{sys.executable}" -m berth "$@" --data-dir "{folder}/data" --server {berth.grpc}; }}\n'
    assert "hello.txt" in run(berth, ["bash", "-euc"], place + text)
    assert (folder / "copy.txt").read_text() == "hello\n"


def test_make_run(tmp_path: Path) -> None:
    """`make run` prints a curl line that, pasted, makes a container."""
    variables = environment() | {
        "BERTH_DATA_DIR": str(tmp_path / "data"),
        "BERTH_LISTEN__REST": "127.0.0.1:0",
        "BERTH_LISTEN__GRPC": "127.0.0.1:0",
    }
    with (tmp_path / "log").open("wb") as log:
        make = subprocess.Popen(["make", "run"], cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=log)
    assert make.stdout is not None
    try:
        assert json.loads(make.stdout.readline())["event"] == "ready"
        curl = _printed(tmp_path / "log", r"curl (?:.*\\\n)*.*\n")
        done = subprocess.run(["bash", "-euc", curl[0]], capture_output=True, text=True, timeout=30, check=True)
        assert json.loads(done.stdout)["object"] == "container", done.stdout
    finally:
        make.terminate()
        make.wait(60)
        make.stdout.close()


def _printed(log: Path, pattern: str) -> re.Match[str]:
    """Return what matches `pattern` in a log, once it is there."""
    deadline = time.monotonic() + 10
    while not (found := re.search(pattern, log.read_text())):
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("example", [*blocks(README, "yaml"), *blocks(OPERATIONS, "yaml")])
def test_configuration(tmp_path: Path, example: str) -> None:
    """Each example of a configuration loads, and says what it shows."""
    path = tmp_path / "berth.yaml"
    path.write_text(example)
    config = load(path, {"TEAM_A_KEY": "sk-bf-a", "CI_KEY": "sk-bf-ci", "OPS_PASSWORD": "secret"})
    assert config.default_provider == yaml.safe_load(example).get("default_provider")
    assert config.has_callers()
