"""`berth` as a container runs it: a read-only root, a user without a name and a home, and one writable folder."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from support.servers.berth import START_SECONDS, STOP_SECONDS
from support.servers.process import free_ports
from support.servers.starting import command

USER = "54321"
LONG = "x" * 120
PREPARE = """
set -e
mkdir -p "$FOLDER/python"
mount --bind "$PYTHON" "$FOLDER/python"
if [ -n "$HIDDEN" ]; then
    mount -t tmpfs -o mode=755 tmpfs "$HIDDEN"
    mkdir -p "$PYTHON"
    mount --bind "$FOLDER/python" "$PYTHON"
fi
mount --bind "$DATA" "$DATA"
mount -o remount,bind,ro /
cd /
exec setpriv --reuid "$BERTH_USER" --regid 0 --clear-groups env -i PATH="$PATH" TMPDIR="/$(basename "$DATA")" "$@"
"""
"""Makes everything read-only but one folder, lets the user reach Python, and becomes a command without environment."""


def hidden() -> str:
    """Return the folder above Python's that only its owner can enter, empty if there is none."""
    parents = [path for path in Path(sys.base_prefix).parents if not path.stat().st_mode & 0o001]
    return str(parents[-1]) if parents else ""


class Restricted:
    """A folder of the user on a read-only file system, and commands that run there."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / LONG / LONG
        self.data.mkdir(parents=True)
        os.chown(self.data, int(USER), 0)
        self._folder = folder

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start a command there."""
        places = {"FOLDER": str(self._folder), "PYTHON": sys.base_prefix, "HIDDEN": hidden(), "DATA": str(self.data)}
        return subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", PREPARE, "sh", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "BERTH_USER": USER, **places},
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command there; return its exit code, stdout and stderr."""
        with self.start(*arguments) as process:
            output, errors = process.communicate(timeout=START_SECONDS)
        return process.returncode, output, errors


@pytest.fixture(scope="module")
def restricted() -> Iterator[Restricted]:
    if os.geteuid() != 0:
        pytest.skip("only root makes a file system read-only for another user")
    folder = Path(tempfile.mkdtemp())  # pytest's own folders cannot be entered by others
    folder.chmod(0o755)
    try:
        restricted = Restricted(folder)
        if restricted.run(sys.executable, "-c", "import berth")[0] != 0:
            pytest.skip("the user cannot reach this Python, or namespaces are not permitted")
        yield restricted
    finally:
        shutil.rmtree(folder)


def test_only_the_data_folder_must_be_writable(restricted: Restricted) -> None:
    """Both ports answer, also with long paths of the data folder and of a temporary folder that does not exist."""
    with restricted.start(
        *command("up", "--show-key", "--data-dir", str(restricted.data), *free_ports("up"))
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        headers = {"authorization": f"Bearer {ready['virtual_key']}"}
        new = {"provider": "ollama", "name": "a"}
        assert httpx2.post(f"{ready['rest']}/v1/containers", json=new, headers=headers, timeout=30).status_code == 200
        process.terminate()
        assert process.wait(STOP_SECONDS) == 0
    assert {path.stat().st_uid for path in restricted.data.iterdir()} == {int(USER)}


def test_a_user_without_a_name_creates_keys(restricted: Restricted) -> None:
    """The audit trail has the number of the user."""
    arguments = ("keys", "create", "--name", "a", "--tenant", "a", "--data-dir", str(restricted.data))
    status, output, errors = restricted.run(*command(*arguments))
    assert (status, output[:6]) == (0, "sk-bf-")
    assert json.loads(errors)["who"] == USER
