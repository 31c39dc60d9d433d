"""What the probe of sandboxes says where none works, and that the filter exists for each machine."""

import asyncio
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from berth.adapters.sandbox import seccomp
from berth.adapters.sandbox.gvisor import Gvisor
from berth.adapters.sandbox.program import find_bwrap
from berth.adapters.sandbox.reasons import explain

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
        ("exit 0", "no sandbox can be started (the command ended with exit)"),
        ("echo 'running container: newuidmap failed' >&2; exit 128", "newuidmap failed); runsc is too old"),
    ],
    ids=["missing", "another program", "too old"],
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
