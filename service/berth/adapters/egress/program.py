"""The process of the egress proxy: serves the sockets that Berth hands over, each for the domains of one command.

Messages on its standard input, which Berth holds the other end of, are JSON: `{"open": ID, "domains": […], "tenant":
NAME}` comes with a listening socket, `{"close": ID}` ends it. Back go `{"id": ID, "refused": NAME}` and at the end
`{"id": ID, "counts": {…}}`.
"""

import asyncio
import json
import os
import resource
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from ipaddress import ip_network
from typing import Any
from weakref import WeakValueDictionary

from berth.adapters.egress.addresses import Reach
from berth.adapters.egress.connector import LOOKUP_THREADS, Shared
from berth.adapters.egress.session import Rules, Session

MAX_MESSAGE_BYTES = 131_072
_NICENESS = 5
"""If the processors are busy, the service comes first."""
_NOBODY = 65534


def main() -> None:
    """Serve until Berth closes its end."""
    rules = _rules(json.loads(sys.argv[1]))
    _limit()
    link = socket.socket(fileno=os.dup(0))
    link.setblocking(False)
    asyncio.new_event_loop().run_until_complete(Proxy(rules, link).run())
    os._exit(0)  # names that are still being looked up would hold it up


def _rules(given: dict[str, Any]) -> Rules:
    networks = [ip_network(network) for network in given["private_networks"]]
    return Rules(frozenset(given["ports"]), Reach(networks), given["max_bytes"])


def _limit() -> None:
    """Give up what the proxy does not need: priority, and the rights of root. It reads no file after this."""
    os.nice(_NICENESS)
    _, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        with suppress(OSError):  # in a container that has no other user
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)


class Proxy:
    """The sessions that Berth has opened through `link`."""

    def __init__(self, rules: Rules, link: socket.socket) -> None:
        self._rules = rules
        self._link = link
        self._sessions: dict[str, tuple[Session, asyncio.Task[None]]] = {}
        # A tenant's is there as long as a command of the tenant, or a look-up that one has begun.
        self._shared: WeakValueDictionary[str, Shared] = WeakValueDictionary()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._has_ended = asyncio.Event()

    async def run(self) -> None:
        """Do what the messages say until Berth is gone."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(LOOKUP_THREADS))
        loop.add_reader(self._link.fileno(), self._receive)
        sending = asyncio.create_task(self._send())
        await self._has_ended.wait()
        sending.cancel()

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._link, MAX_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self._has_ended.set()
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            return
        message = json.loads(data)
        if "open" in message:
            self._open(message, socket.socket(fileno=descriptors[0]))
        else:
            self._close(message["close"])

    def _open(self, message: dict[str, Any], listener: socket.socket) -> None:
        listener.setblocking(False)
        name, tenant = message["open"], message["tenant"]
        shared = self._shared.setdefault(tenant, Shared())
        session = Session(
            self._rules,
            message["domains"],
            lambda refused: self._messages.put_nowait({"id": name, "refused": refused}),
            shared=shared,
        )
        self._sessions[name] = session, asyncio.create_task(self._serve(session, listener))

    @staticmethod
    async def _serve(session: Session, listener: socket.socket) -> None:
        with listener:
            try:
                await session.serve(listener)
            finally:
                _drop_waiting(listener)

    def _close(self, name: str) -> None:
        session, serving = self._sessions.pop(name)
        serving.cancel()
        serving.add_done_callback(lambda _: self._messages.put_nowait({"id": name, "counts": asdict(session.counts)}))

    async def _send(self) -> None:
        while True:
            message = json.dumps(await self._messages.get()).encode()
            try:
                await asyncio.get_running_loop().sock_sendall(self._link, message)
            except OSError:
                self._has_ended.set()
                return


def _drop_waiting(listener: socket.socket) -> None:
    """Close the connections that nothing has accepted: the next command on this socket is not to have them."""
    with suppress(OSError):  # there are no more
        while True:
            listener.accept()[0].close()
