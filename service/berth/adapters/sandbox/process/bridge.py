"""Connects a port inside a sandbox, which has no other network, with the egress proxy's socket outside."""

import os
import select
import selectors
import socket
from collections.abc import Callable

from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.network import join_network, opened_network

PORT = 3128
"""Where programs in a sandbox find the proxy, on 127.0.0.1."""
_BACKLOG = 128
_CHUNK = 1 << 16
_CONNECTIONS = 64
"""How many connections are passed on at a time; others wait. The proxy has as many of a command."""
_LOOK_SECONDS = 0.1
"""How often is looked for connections that may end while others wait."""
_READY = b"1"


def bridge(init: int, proxy: str) -> None:
    """Start a process that passes on connections until its parent kills it or dies."""
    parent = os.getpid()
    network = opened_network(
        init
    )  # at once: bwrap goes on meanwhile, and may then be out of reach until it is released
    ready, report = os.pipe()
    if os.fork() == 0:
        try:
            linux.die_with_parent(parent)
            os.dup2(network, 0)  # which was nothing
            # Above all the pipe to the command, which waits for its end.
            os.closerange(3, report)
            os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
            _serve(0, proxy, report)
        finally:
            os._exit(1)
    os.close(network)
    os.close(report)
    is_ready = os.read(ready, 1) == _READY
    os.close(ready)
    if not is_ready:
        raise OSError("the way to the egress proxy cannot be opened")


def _serve(network: int, proxy: str, report: int) -> None:
    # The kernel limits paths of sockets to 107 bytes; that of an open file is short.
    outside = f"/proc/self/fd/{os.open(proxy, os.O_PATH | os.O_CLOEXEC)}"
    listener = _listen_inside(network)
    os.write(report, _READY)
    os.close(report)
    Bridge(listener, outside).run()


def _listen_inside(network: int) -> socket.socket:
    """Return a socket that listens in the sandbox's network.

    A child makes it, so that this process keeps its own namespaces: no socket of the sandbox's network is its own.
    """
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    if os.fork() == 0:
        try:
            linux.die_with_parent(parent)
            with _listening(network) as listener:
                socket.send_fds(theirs, [_READY], [listener.fileno()])
        finally:
            os._exit(0)
    theirs.close()
    with ours:
        _, found, _, _ = socket.recv_fds(ours, len(_READY), 1, socket.MSG_CMSG_CLOEXEC)
    os.wait()
    if not found:
        raise OSError("the network of the sandbox cannot be entered")
    return socket.socket(fileno=found[0])


def _listening(network: int) -> socket.socket:
    join_network(network)
    return socket.create_server(("127.0.0.1", PORT), backlog=_BACKLOG)


class Bridge:
    """Passes on the connections of `listener` to the socket `outside`.

    Nothing in it waits for one connection: a command that does not read from one would otherwise stop all others.
    """

    def __init__(self, listener: socket.socket, outside: str) -> None:
        self._listener = listener
        self._outside = outside
        self._pairs: list[Pair] = []
        self._selector = selectors.DefaultSelector()
        self._accepts = False
        listener.setblocking(False)

    def run(self) -> None:
        """Pass on bytes until this process is killed."""
        while True:
            self._accept(len(self._pairs) < _CONNECTIONS or self._end_one())
            done: set[Callable[[], None]] = set()
            for key, _ in self._selector.select(None if self._accepts else _LOOK_SECONDS):
                # The other end of a pair may have been closed by an earlier event.
                if key.data not in done:
                    done.add(key.data)
                    key.data()

    def _accept(self, accepts: bool) -> None:  # noqa: FBT001 - what it is set to
        """Take connections or let them wait."""
        if accepts and not self._accepts:
            self._selector.register(self._listener, selectors.EVENT_READ, self._connect)
        elif self._accepts and not accepts:
            self._selector.unregister(self._listener)
        self._accepts = accepts

    def _connect(self) -> None:
        inside, _ = self._listener.accept()
        outside = socket.socket(socket.AF_UNIX)
        for end in (inside, outside):
            end.setblocking(False)
        try:
            outside.connect(self._outside)
        except OSError:
            inside.close()
            outside.close()
            return
        self._pairs.append(Pair(inside, outside, self._selector, self._pairs.remove))

    def _end_one(self) -> bool:
        """Close a connection that a command keeps though the proxy has closed it; return whether there was one."""
        over = next((pair for pair in self._pairs if pair.is_over()), None)
        if over is not None:
            over.close()
        return over is not None


class Pair:
    """Two sockets, the bytes that each did not take yet, at most one chunk, and the ends that may still send."""

    def __init__(
        self,
        inside: socket.socket,
        outside: socket.socket,
        selector: selectors.BaseSelector,
        ended: Callable[["Pair"], None],
    ) -> None:
        self._ends = (inside, outside)
        self._selector = selector
        self._ended = ended
        self._waiting = {inside: b"", outside: b""}
        self._open = {inside, outside}
        for end in self._ends:
            selector.register(end, selectors.EVENT_READ, self._pass_on)

    def is_over(self) -> bool:
        """Return whether the outer end has been closed, and all that came from there was passed on."""
        inside, outside = self._ends
        if outside in self._open or self._waiting[inside]:
            return False
        poll = select.poll()
        poll.register(outside, 0)
        return bool(poll.poll(0))  # it is not if only one direction was closed

    def _pass_on(self) -> None:
        """Pass on what there is in both directions."""
        one, other = self._ends
        if one.fileno() < 0:
            return  # it was closed by an earlier event
        for source, target in ((one, other), (other, one)):
            try:
                self._move(source, target)
            except BlockingIOError:
                continue
            except OSError:
                self.close()
                return
        self._watch()

    def _move(self, source: socket.socket, target: socket.socket) -> None:
        if not self._waiting[target] and source in self._open:
            data = source.recv(_CHUNK)
            if not data:
                self._open.discard(source)
                target.shutdown(socket.SHUT_WR)
                return
            self._waiting[target] = data
        try:
            sent = target.send(self._waiting[target])
            self._waiting[target] = self._waiting[target][sent:]
        except (BrokenPipeError, ConnectionResetError):  # it wants no more, and may have said why
            self._open.discard(source)
            self._waiting[target] = b""

    def _watch(self) -> None:
        """Wait for what can go on now: an end has something, or takes what waits for it."""
        if not self._open and not any(self._waiting.values()):
            self.close()
            return
        one, other = self._ends
        for end, peer in ((one, other), (other, one)):
            reads = selectors.EVENT_READ if end in self._open and not self._waiting[peer] else 0
            writes = selectors.EVENT_WRITE if self._waiting[end] else 0
            self._set(end, reads | writes)

    def _set(self, end: socket.socket, events: int) -> None:
        key = self._selector.get_map().get(end.fileno())
        if key is None and events:
            self._selector.register(end, events, self._pass_on)
        elif key is not None and not events:
            self._selector.unregister(end)
        elif key is not None and key.events != events:
            self._selector.modify(end, events, self._pass_on)

    def close(self) -> None:
        """Close both ends."""
        for end in self._ends:
            self._set(end, 0)
            end.close()
        self._ended(self)
