"""The documents are true: their examples run as they stand."""

import json
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import yaml

from berth.config import load
from support.clients.polling import wait_until
from support.guides import ROOT, blocks, run
from support.sandboxes.needed import needs_sandbox
from support.servers.berth import Berth, environment

README, COMMANDS, OPERATIONS = "README.md", "docs/commands.md", "docs/operations.md"


@needs_sandbox
def test_shell(newcomer: Berth) -> None:
    """The curl lines run a program over a table and bring back the picture that it drew; the result is as shown."""
    (lines,) = blocks(README, "sh")
    (shown,) = (json.loads(block) for block in blocks(README, "json"))
    run(newcomer, ["bash", "-euc"], lines)
    result = json.loads((newcomer.log.parent / "result.json").read_text())
    (made,), (seen,) = result.pop("files"), shown.pop("files")
    assert (result | shown, made | seen) == (result, made)
    picture = (newcomer.log.parent / "chart.png").read_bytes()
    (drawn,) = re.findall(rb"IDAT(.*).{4}\0{4}IEND", picture, re.DOTALL)
    assert (picture[:8], picture[16:24]) == (b"\x89PNG\r\n\x1a\n", struct.pack(">II", 120, 100))
    assert zlib.decompress(drawn).count(95) == 40 * (30 + 55 + 80)


def test_python(newcomer: Berth) -> None:
    """The example for the SDK prints the path and the content of its file."""
    (sdk,) = blocks(README, "python")
    assert re.fullmatch(r"/mnt/data/[0-9a-f]{32}-hello.txt hello\n", run(newcomer, [sys.executable, "-c"], sdk))


def test_command_line(newcomer: Berth) -> None:
    """The commands, with the folder of that Berth, bring back what they sent."""
    (text,) = blocks(COMMANDS, "bash")
    folder = newcomer.log.parent
    place = f'berth() {{ "{sys.executable}" -m berth "$@" --data-dir "{folder}/data" --server {newcomer.grpc}; }}\n'
    assert "hello.txt" in run(newcomer, ["bash", "-euc"], place + text)
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
    wait_until(lambda: re.search(pattern, log.read_text()) is not None)
    found = re.search(pattern, log.read_text())
    assert found is not None
    return found


@pytest.mark.parametrize("example", [*blocks(README, "yaml"), *blocks(OPERATIONS, "yaml")])
def test_configuration(tmp_path: Path, example: str) -> None:
    """Each example of a configuration loads, and says what it shows."""
    path = tmp_path / "berth.yaml"
    path.write_text(example)
    names = ("TEAM_A_KEY", "CI_KEY", "OPS_PASSWORD", "OPENAI_KEY", "OPENAI_KEY_OF_TEAM_A", "COLLECTOR_TOKEN")
    environ = {name: f"sk-bf-{name}" for name in names} | {"STORE_URL": "postgresql://berth@127.0.0.1/berth"}
    config, shown = load(path, environ), yaml.safe_load(example)
    assert config.default_provider == shown.get("default_provider")
    assert config.has_callers() == ("auth" in shown)
