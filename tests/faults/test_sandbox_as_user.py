"""The suites of sandboxes once more, as an ordinary user, if the tests run as root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.sandboxes import unprivileged
from support.sandboxes.needed import DRIVERS, settings_of

ROOT = Path(__file__).parents[2]
SUITES = (
    "test_sandbox.py",
    "test_sandbox_limits.py",
    "test_sandbox_attacks.py",
    "test_sandbox_sessions.py",
    "test_sandbox_shares.py",
    "test_harvest.py",
    "test_egress_process.py",
)
USER = 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="the suites themselves run as an ordinary user")
@pytest.mark.skipif(not Path("/proc/self/ns/user").exists(), reason="the kernel has no user namespaces")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("driver", DRIVERS)
def test_the_suites_hold_for_an_ordinary_user(driver: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without the rights of root at the start, a sandbox refuses the same attempts and keeps the same limits."""
    program = settings_of(driver).get("BERTH_EXEC__RUNSC")
    chosen = "gvisor" if program else "not copies and not gvisor"
    given = {"BERTH_TEST_RUNSC": program} if program else {}
    folder = tmp_path_factory.mktemp("user")
    os.chown(folder, USER, USER)
    tests = [str(ROOT / "tests" / "contracts" / name) for name in SUITES]
    readable = {Path(sys.base_prefix), Path(sys.prefix), ROOT, folder}
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-cov", f"--basetemp={folder}/tests"]
    command = [sys.executable, "-m", "pytest", *options, "-k", chosen, *tests]
    ran = subprocess.run(
        [sys.executable, unprivileged.__file__, str(USER), *map(str, readable), "--", *command],
        cwd=ROOT,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(folder),
            "HOME": str(folder),
            **given,
        },
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout.splitlines()[-1]
    assert "failed" not in ran.stdout.splitlines()[-1]
