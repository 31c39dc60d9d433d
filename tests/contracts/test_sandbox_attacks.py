"""What an attacker tries in a sandbox, as one program of many short attempts; docs/sandbox.md lists them."""

import json
import os
import platform
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from berth.adapters.sandbox import seccomp
from support.sandboxes.attempts import FILES, KERNEL, NETWORK, OF_A_GUEST, RUNNER
from support.sandboxes.opened import Opened

ATTEMPTS = {**FILES, **KERNEL, **NETWORK}
VARIABLE = "BERTH_VARIABLE_OF_THE_HOST"
WATCHED = ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/etc/passwd", "/usr/bin/env")


@pytest.fixture(scope="module")
def host(sandbox: Opened) -> Iterator[dict[str, Any]]:
    """Put on the host what attempts are after, and take it away again."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
        secret = Path(folder) / "secret"
        secret.write_text("of the host")
        for path in (folder, secret):
            Path(path).chmod(0o755)
        shared = stack.enter_context(tempfile.NamedTemporaryFile(dir="/dev/shm"))
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = f"berth-{os.urandom(8).hex()}"
        names = {"abstract": "\0" + abstract, "socket": f"{folder}/socket"}
        for name in names.values():
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(name)
            listener.listen()
        os.environ[VARIABLE] = "of the host"
        stack.callback(os.environ.pop, VARIABLE)
        yield {
            "abstract": abstract,
            "addresses": [found[4][0] for found in _addresses()],
            "folder": str(sandbox.folder),
            "pid": os.getpid(),
            "port": server.getsockname()[1],
            "repository": str(Path(__file__).parents[2]),
            "secret": str(secret),
            "shared_memory": shared.name,
            "socket": names["socket"],
            "temporary": str(secret),
            "tenant": str(sandbox.command("true").files.parent),
            "variable": VARIABLE,
        }


def _addresses() -> list[Any]:
    try:
        return socket.getaddrinfo(socket.gethostname(), 80, type=socket.SOCK_STREAM)
    except OSError:
        return []


@pytest.fixture(scope="module")
def answers(sandbox: Opened, host: dict[str, Any]) -> dict[str, str]:
    """Make all attempts in one sandbox; what each of them said, and whether the host is as it was."""
    before = _state()
    given = {"attempts": ATTEMPTS, "host": host, "numbers": seccomp._MACHINES[platform.machine()].calls}
    ran = sandbox.run("python3", "-c", RUNNER, stdin=json.dumps(given).encode())
    assert _state() == before
    assert Path(host["secret"]).read_text() == "of the host"
    assert ran.result.exit_code == 0, ran
    return dict(json.loads(line) for line in ran.stdout.splitlines())


def test_the_attempts_are_documented() -> None:
    """docs/sandbox.md names each attempt, and how many there are."""
    text = " ".join((Path(__file__).parents[2] / "docs" / "sandbox.md").read_text().split())
    assert [name for name in ATTEMPTS if name not in text] == []
    assert f"makes these {len(ATTEMPTS)} attempts" in text


def _state() -> list[bytes]:
    return [Path(path).read_bytes() for path in WATCHED]


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_has_no_effect(name: str, answers: dict[str, str], sandbox: Opened) -> None:
    """The attempt ran, ended, and reached nothing; a guest may reach its own kernel."""
    is_harmless = sandbox.runs_guest and name in OF_A_GUEST
    assert ("LEAK" in answers[name]) == is_harmless
    assert "of the host" not in answers[name]
