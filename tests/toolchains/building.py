"""Installs and builds the tours that are written in other languages, once, and runs them.

The results are kept in the Python environment, in a folder that is named by a hash of the inputs. Downloading is a step
of its own: if the registry cannot be reached, the test is skipped. Every other failure fails the test.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SOURCES = Path(__file__).parent
PROTO = SOURCES.parent.parent / "proto"
KEPT = Path(sys.prefix) / "toolchains"

PROBE_SECONDS = 5.0
DOWNLOAD_SECONDS = 60.0
BUILD_SECONDS = 400.0
TOUR_SECONDS = 60.0

UNREACHABLE = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|SOCKET_TIMEOUT|idle timeout"
    r"|code E(403|407|429|5\d\d)\b|_CERT|no such host|connection re(fused|set)|unreachable|timeout|deadline exceeded"
    r"|Could not transfer artifact|x509: |disabled by GOPROXY|: (403|407|429|5\d\d) |server misbehaving|EOF$"
)
"""Matches what npm, go and mvn print if a registry does not answer or a proxy refuses the request."""


def toolchain(name: str, *companions: str) -> str:
    """Return the path of a program; skip the test if it or a companion is not installed."""
    for program in (name, *companions):
        if shutil.which(program) is None:
            pytest.skip(f"`{program}` is not on PATH: this tour needs it")
    path = shutil.which(name)
    assert path is not None
    return path


def environment(**variables: str) -> dict[str, str]:
    """Return the environment with `variables`, without settings of Berth, the SDK, coverage and Node."""
    foreign = ("BERTH_", "OPENAI_", "COVERAGE_", "NODE_OPTIONS")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)} | variables


def built(name: str, version: str, build: Callable[[Path], None], *, stubs: bool = False) -> Path:
    """Return the folder of the built tour `name`; call `build` on a copy of its source unless a built one is kept.

    `version` is the version of the toolchain. With `stubs`, the tour is rebuilt when the contract changes.
    """
    target = KEPT / f"{name}-{_fingerprint(SOURCES / name, version, stubs=stubs)}"
    KEPT.mkdir(exist_ok=True)
    with _locked(KEPT / f"{name.partition('_')[0]}.lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=KEPT, prefix="building-") as scratch:
                work = Path(scratch) / name
                shutil.copytree(SOURCES / name, work)
                build(work)
                for old in KEPT.glob(f"{name}-*"):
                    shutil.rmtree(old)
                work.rename(target)
    return target


def _fingerprint(source: Path, version: str, *, stubs: bool) -> str:
    """Return a hash of the inputs of a build."""
    files = [Path(__file__), *source.iterdir(), *(PROTO.rglob("*.proto") if stubs else ())]
    digest = hashlib.sha256(version.encode())
    for file in sorted(files):
        digest.update(f"{file.name} {file.stat().st_size} ".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes: two builds at once would compile the same packages twice."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


_unreachable: dict[str, str] = {}
"""The reason for each program whose registry did not answer, so that a process waits for it only once."""


def download(*command: str, work: Path, env: Mapping[str, str], seconds: float = DOWNLOAD_SECONDS) -> None:
    """Run a command that talks to a registry; skip the test if the registry cannot be reached."""
    program = command[0]
    if program not in _unreachable and (reason := _failure(*command, work=work, env=env, seconds=seconds)):
        _unreachable[program] = reason
    if program in _unreachable:
        pytest.skip(f"the registry that {program} installs from cannot be reached: {_unreachable[program]}")


def _failure(*command: str, work: Path, env: Mapping[str, str], seconds: float) -> str | None:
    """Return why the registry cannot be reached, or None if all went well; fail the test on any other error."""
    try:
        done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer within {seconds:.0f} s"
    said = done.stdout + done.stderr
    reasons = [line for line in said.splitlines() if done.returncode and UNREACHABLE.search(line)]
    assert reasons or done.returncode == 0, said
    return reasons[0] if reasons else None


def compile_(*command: str, work: Path, env: Mapping[str, str]) -> None:
    """Run a command that needs no network; fail the test with what it said if it fails."""
    done = subprocess.run(
        command, cwd=work, env=env, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def generate(work: Path, plugins: Path, *options: str, google: tuple[str, ...] = ()) -> None:
    """Generate stubs of the contract, and of some of Google's protos, with the plugins in a folder."""
    ours = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    includes = [f"-I{PROTO}", f"-I{sysconfig.get_path('purelib')}"]
    env = environment(PATH=f"{plugins}{os.pathsep}{os.environ['PATH']}")
    compile_(sys.executable, "-m", "grpc_tools.protoc", *includes, *options, *ours, *google, work=work, env=env)


def tour(*command: str, work: Path, **variables: str) -> dict[str, Any]:
    """Run a tour with `variables` in its environment; return what it prints."""
    env = environment(**variables)
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=TOUR_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen
