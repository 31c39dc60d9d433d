"""Says which tests need a real sandbox, and how Berth gets one in them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

needs_sandbox = pytest.mark.skipif(
    subprocess.run(["unshare", "--user", "--mount", "true"], capture_output=True, check=False).returncode != 0,
    reason="this user cannot make namespaces, which a sandbox consists of",
)
BY_ITSELF = ("env", "-u", "BERTH_EXEC__DRIVER")
"""Inside this, Berth looks for a sandbox, as it does for users."""
NO_RUNSC = "there is no runsc: set BERTH_TEST_RUNSC to its path, or have it on PATH, for tests of the driver gvisor"

DRIVERS = ("bubblewrap", "gvisor")


def settings_of(driver: str) -> dict[str, str]:
    """Return the variables with which Berth takes a driver by itself; the test is skipped if its program is missing."""
    if driver == "bubblewrap":
        return {"BERTH_EXEC__DRIVER": "auto"}
    if (program := runsc()) is None:
        pytest.skip(NO_RUNSC)
    return {"BERTH_EXEC__DRIVER": "auto", "BERTH_EXEC__RUNSC": str(program)}


def runsc() -> Path | None:
    """Return the program with which the driver `gvisor` is tested."""
    found = os.environ.get("BERTH_TEST_RUNSC") or shutil.which("runsc")
    return Path(found) if found else None
