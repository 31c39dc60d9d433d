"""Which sandbox Berth takes for commands, by its settings."""

from pathlib import Path
from typing import Any

import pytest

from berth.app.execs import SandboxDriver, _without_paths, build_sandbox
from berth.config import Config

RUNSC = "/usr/local/bin/runsc"


@pytest.mark.parametrize(
    ("settings", "isolation", "shares_kernel"),
    [
        ({}, "bubblewrap", True),
        ({"runsc": RUNSC}, "gvisor", False),
        ({"driver": "gvisor", "runsc": RUNSC}, "gvisor", False),
        ({"driver": "bubblewrap", "runsc": RUNSC}, "bubblewrap", True),
        ({"cgroup": False}, "bubblewrap", True),
    ],
)
def test_the_driver_is_the_configured_one(
    settings: dict[str, Any],
    isolation: str,
    shares_kernel: bool,  # noqa: FBT001 - of a parameter
    tmp_path: Path,
) -> None:
    """A path of runsc makes gVisor the sandbox unless another one is named; only bubblewrap shares the kernel."""
    driver = build_sandbox(Config.model_validate({"exec": {"cgroup": "off", **settings}}), tmp_path)
    assert isinstance(driver, SandboxDriver)
    assert (driver.sandbox.isolation, driver.shares_kernel) == (isolation, shares_kernel)


def test_no_driver_is_built_if_commands_are_off(tmp_path: Path) -> None:
    """The reason is the setting; YAML reads the word without quotes as false."""
    for off in ("off", False):
        assert build_sandbox(Config.model_validate({"exec": {"driver": off}}), tmp_path) == "exec.driver is off"


def test_tenants_do_not_see_paths_of_the_machine(tmp_path: Path) -> None:
    """Those of settings are their names, others are left out, and those of advice stay."""
    config = Config.model_validate({"data_dir": str(tmp_path), "exec": {"runsc": RUNSC}})
    advice = "see /etc/apparmor.d, docs/deployment/docker.md and /proc/sys/user/max_user_namespaces; 1/2"
    reason = f"{RUNSC} says /etc/secret/path; Berth runs in /sys/fs/cgroup/user.slice/a, not in {tmp_path}/x; {advice}"
    assert _without_paths(reason, config) == (
        f"exec.runsc says a path of the machine; Berth runs in a path of the machine, not in data_dir/x; {advice}"
    )
