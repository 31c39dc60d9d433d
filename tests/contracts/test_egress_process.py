"""The contract of Egress, on the process that serves the sockets of all commands."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from berth.adapters.egress.process import EgressProcess, EgressSettings
from berth.core.errors import StorageError
from berth.core.exec.egress import EgressCounts
from support.clients.polling import wait_until
from support.measuring.processes import is_alive, processes_with
from support.sandboxes.egress import LOOPBACK, ask, server

LOOKS_UP = """
import sys
from berth.adapters.egress import program
from berth.adapters.egress.connector import look_up
before = set(sys.modules)
print(look_up("localhost", 80), sorted(set(sys.modules) - before))
"""


@asynccontextmanager
async def egress(*ports: int, reports: list[EgressCounts] | None = None) -> AsyncIterator[EgressProcess]:
    """Open an Egress that may reach loopback."""
    settings = EgressSettings(ports, [f"{LOOPBACK}/32"], 1 << 20)
    made = EgressProcess(settings, (reports if reports is not None else []).append)
    try:
        yield made
    finally:
        await made.close()


def process_of(port: int) -> int:
    """Return the process of the egress that has this port open."""
    (found,) = [pid for pid in processes_with("berth.adapters.egress.program") if pid in processes_with(f"[{port}]")]
    return found


def owner_of(pid: int) -> int:
    """Return the user of a process."""
    return Path(f"/proc/{pid}").stat().st_uid


def get(port: int, host: str = LOOPBACK) -> bytes:
    """Return a request for a page of a host."""
    return f"GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode()


@asynccontextmanager
async def proxy(made: EgressProcess, path: Path, domains: Sequence[str]) -> AsyncIterator[Sequence[str]]:
    """Open a socket at a path, and serve a proxy there."""
    with made.listen(path) as listener:
        async with made.opened(listener, domains, tenant="ours") as refusals:
            yield refusals


async def test_each_command_has_its_own_domains_and_refusals(tmp_path: Path) -> None:
    """What one command may reach, another one may not; each knows what it was refused, and both are counted."""
    reports: list[EgressCounts] = []
    long = tmp_path / ("long" * 30)
    long.mkdir()
    async with server() as one, egress(one.port, reports=reports) as made:
        async with (
            proxy(made, tmp_path / "proxy", [LOOPBACK, "no domain at all"]) as first,
            proxy(made, long / "proxy", ["other.example"]) as second,
        ):
            assert (await ask(tmp_path / "proxy", get(one.port))).endswith(b"hello")
            assert (await ask(long / "proxy", get(one.port))).startswith(b"HTTP/1.1 403 ")
        assert (list(first), list(second)) == ([], [f"{LOOPBACK}:{one.port}"])
    refused, passed = reports
    assert (refused.refused, refused.bytes, passed.passed, passed.failed) == (1, 0, 1, 0)
    assert passed.bytes > 100


async def test_a_socket_ends_with_its_command(tmp_path: Path) -> None:
    """After the context there is no proxy at the path, and none without it."""
    async with egress(80) as made:
        async with proxy(made, tmp_path / "proxy", ["a.example"]):
            assert (await ask(tmp_path / "proxy", get(80))).startswith(b"HTTP/1.1 403 ")
        with pytest.raises(ConnectionRefusedError):
            await ask(tmp_path / "proxy", get(80))


async def test_connections_that_wait_end_with_their_command(tmp_path: Path) -> None:
    """What one command on a socket has sent, but the proxy has not accepted, is not served as that of the next one."""
    path = tmp_path / "proxy"
    async with egress(80) as made:
        with made.listen(path) as listener:
            async with made.opened(listener, ["a.example"], tenant="ours"):
                asked = [await asyncio.open_unix_connection(path) for _ in range(100)]
                for _, writer in asked:
                    writer.write(get(80))
            for reader, writer in asked:
                with suppress(ConnectionError):
                    await reader.read()
                writer.close()
            async with made.opened(listener, ["a.example"], tenant="ours") as refusals:
                assert (await ask(path, get(80, "b.example"))).startswith(b"HTTP/1.1 403 ")
            assert list(refusals) == ["b.example:80"]


async def test_a_name_is_looked_up(tmp_path: Path) -> None:
    """A name leads to its address, also as root where only root can read the Python that runs this."""
    async with server() as one, egress(one.port) as made, proxy(made, tmp_path / "proxy", ["localhost"]):
        assert (await ask(tmp_path / "proxy", get(one.port, "localhost"))).endswith(b"hello")


def test_looking_up_a_name_loads_no_module() -> None:
    """After the process has given up the rights of root, it may not be able to read any."""
    done = subprocess.run([sys.executable, "-c", LOOKS_UP], capture_output=True, text=True, check=True)
    assert (LOOPBACK in done.stdout, done.stdout.rpartition("] ")[2]) == (True, "[]\n"), done.stdout


async def test_it_has_no_rights_and_comes_back(tmp_path: Path) -> None:
    """The process is not root, and after its death the next command gets another one."""
    async with server() as one, egress(one.port) as made:
        async with proxy(made, tmp_path / "first", [LOOPBACK]):
            await ask(tmp_path / "first", get(one.port))
            pid = process_of(one.port)
            assert owner_of(pid) != 0 or os.geteuid() != 0
            os.kill(pid, signal.SIGKILL)
        async with proxy(made, tmp_path / "second", [LOOPBACK]):
            assert (await ask(tmp_path / "second", get(one.port))).endswith(b"hello")
            second = process_of(one.port)
    assert second != pid
    wait_until(lambda: not is_alive(second))


async def test_a_path_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    """A folder that is not there is an error of Berth's storage."""
    async with egress(80) as made:
        with pytest.raises(StorageError):
            async with proxy(made, tmp_path / "none" / "proxy", ["a.example"]):
                pass
