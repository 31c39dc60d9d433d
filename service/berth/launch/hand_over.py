"""Hands the data folder over from a running Berth to the process that replaces it, its successor.

They talk over a Unix socket in the data folder, which only its owner can open, in lines of JSON:

    successor                                   predecessor
    {"berth": 1}                          →
                                          ←     its addresses, and the lock of the folder as a file descriptor
    (starts, and listens on the same ports)
    {"take_over": <process id>}           →
                                          ←     {"closed": true}, when it accepts no more connections
                                                (finishes running requests, and exits)

A successor that disappears before its second line changes nothing. Both have the lock while both run, so that there is
no moment at which a third process could take it.
"""

import asyncio
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from structlog.typing import FilteringBoundLogger

from berth.launch.address import Address
from berth.launch.data_folder import FolderLock, claimed, in_use_error, opened_lock
from berth.launch.private_folder import short_path

SOCKET = "replace"
VERSION = 1
ANSWER_SECONDS = 10.0
"""How long the other process may take to answer."""
RETRY_SECONDS = 1.0
_LINE_BYTES = 4096


class Predecessor:
    """The running Berth that this process is to replace, and its addresses by setting, such as `listen.rest`."""

    def __init__(self, connection: socket.socket, addresses: Mapping[str, Address]) -> None:
        self.addresses = addresses
        self._connection = connection

    async def resign(self) -> None:
        """Make it accept no more connections, finish its requests and exit; return when its ports are closed."""
        # If it has ended meanwhile, its ports are closed as well.
        with suppress(OSError):
            await asyncio.to_thread(self._resign)

    def _resign(self) -> None:
        _send(self._connection, {"take_over": os.getpid()})
        self._connection.recv(_LINE_BYTES)


@contextmanager
def claimed_or_shared(folder: Path, *, replace: bool) -> Iterator[tuple[FolderLock, Predecessor | None]]:
    """Lock the data folder as `claimed` does; with `replace`, share the lock of a Berth that runs there, if one does.

    Raises StartError if the folder cannot be used, or if the Berth that uses it cannot be replaced.
    """
    if not replace:
        with claimed(folder) as lock:
            yield lock, None
        return
    with opened_lock(folder) as lock:
        if lock.try_to_take():
            yield lock, None
            return
        with _connected(folder, lock) as connection:
            yield lock, _introduce(connection, folder, lock)


@contextmanager
def _connected(folder: Path, lock: FolderLock) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            with short_path(folder / SOCKET) as path:
                connection.connect(path)
        except OSError as error:
            raise in_use_error(folder, lock, "it cannot be replaced, stop it first") from error
        yield connection


def _introduce(connection: socket.socket, folder: Path, lock: FolderLock) -> Predecessor:
    """Ask for the addresses and the lock; `lock` becomes the one that is received."""
    try:
        _send(connection, {"berth": VERSION})
        line, descriptors, _, _ = socket.recv_fds(connection, _LINE_BYTES, 1)
        answer = json.loads(line)
        addresses = {name: Address.parse(text) for name, text in answer["addresses"].items()}
        (received,) = descriptors
    except (OSError, ValueError, KeyError) as error:
        raise in_use_error(folder, lock, "it is being replaced already, or stops") from error
    os.set_inheritable(received, False)
    os.close(lock.descriptor)
    lock.descriptor = received
    return Predecessor(connection, addresses)


class HandOver:
    """Waits for a successor on the socket in `folder`, and hands `lock` over to it."""

    def __init__(
        self, folder: Path, lock: FolderLock, addresses: Mapping[str, Address], log: FilteringBoundLogger
    ) -> None:
        self._path = folder / SOCKET
        self._lock = lock
        self._addresses = addresses
        self._log = log
        self._successor: socket.socket | None = None

    @contextmanager
    def listening(self) -> Iterator[socket.socket]:
        """Listen for successors while the context lasts; a successor listens in its place afterwards."""
        self._path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
            with short_path(self._path) as path:
                server.bind(path)
                Path(path).chmod(0o600)  # whatever the umask is
            server.listen(1)
            server.setblocking(False)
            try:
                yield server
            finally:
                self._path.unlink(missing_ok=True)

    async def requested(self, server: socket.socket) -> None:
        """Wait until a successor, which connects to `server` of `listening`, takes over."""
        while self._successor is None:
            try:
                connection, _ = await asyncio.get_running_loop().sock_accept(server)
            except OSError as error:  # too many open files: the successor waits
                self._log.warning("replacement.failed", reason=repr(error))
                await asyncio.sleep(RETRY_SECONDS)
                continue
            connection.setblocking(False)
            try:
                taken = await self._serve(connection)
            except (OSError, ValueError, KeyError, TypeError) as error:
                self._log.warning("replacement.failed", reason=repr(error))
                taken = False
            if taken:
                self._successor = connection
            else:
                connection.close()

    def confirm(self) -> None:
        """Tell the successor that this process accepts no more connections."""
        if self._successor is not None:
            with suppress(OSError), self._successor as connection:
                _send(connection, {"closed": True})

    async def _serve(self, connection: socket.socket) -> bool:
        """Answer a successor; return whether it takes over, False if it has disappeared."""
        async with asyncio.timeout(ANSWER_SECONDS):
            hello = await _receive(connection)
        if hello is None or hello["berth"] != VERSION:
            return False
        addresses = {name: str(address) for name, address in self._addresses.items()}
        socket.send_fds(connection, [_line({"addresses": addresses})], [self._lock.descriptor])
        taken = await _receive(connection)
        if taken is None:
            self._log.warning("replacement.failed", reason="the successor has disappeared")
            return False
        self._log.info("replacement.started", successor=taken["take_over"])
        return True


def _line(message: Mapping[str, object]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _send(connection: socket.socket, message: Mapping[str, object]) -> None:
    connection.sendall(_line(message))


async def _receive(connection: socket.socket) -> Any:
    """Return the next message, None at the end."""
    line = await asyncio.get_running_loop().sock_recv(connection, _LINE_BYTES)
    return json.loads(line) if line else None
