"""What goes on while a command runs: its output goes to Berth, its use of the machine is watched."""

import json
import select
import time
from typing import Any

from berth.adapters.sandbox.process.bridge import bridge
from berth.adapters.sandbox.process.cgroup import Group
from berth.adapters.sandbox.process.changes import used
from berth.adapters.sandbox.process.children import Sandboxed, may_say_not_started
from berth.adapters.sandbox.process.link import Link
from berth.adapters.sandbox.process.watch.watch import Watch

_TICK_SECONDS = 0.05
_NEW_SECONDS, _NEW_TICK_SECONDS = 0.3, 0.01
"""For how long a command is new, and how often is looked then whether there are many processes; these start fast."""
_CHUNK = 1 << 16
_OUTPUT = {"stdout": b"O", "stderr": b"E"}
RESULT, FAILED = b"R", b"F"
_KEPT_FOR_ERRORS = 500


class Supervision:
    """The supervision of one command, with its `limits`, which changes what is beneath the open folder `top`."""

    _starts_command = True

    def __init__(self, limits: dict[str, Any], link: Link, child: Sandboxed, top: int, group: Group) -> None:
        self.proxy: str | None = None
        self._limits = limits
        self._link = link
        self._child = child
        self._top = top
        self._group = group
        self._watch: Watch | None = None
        self._left = self._limits["output_bytes"]
        self._is_truncated = False
        self._first_error = self._held_back = b""
        self._outcome: str | None = None
        self._begun = time.monotonic()
        self._ended = self._begun

    def until_ended(self) -> None:
        """Return when the command has ended, which is caused if it has to; what it wrote is sent."""
        self._until_outcome()
        self._ended = time.monotonic()
        self._child.kill()
        self.check_memory()
        self._child.pipes.drain(self._pass_on)
        is_own = self._outcome == "exit"  # otherwise the command did run
        self._send("stderr", self._child.worded(self._held_back) if is_own else self._held_back)

    def _until_outcome(self) -> None:
        poll = select.poll()
        for descriptor, events in self._registered().items():
            poll.register(descriptor, events)
        next_tick, next_count = self._begun, self._begun + _NEW_TICK_SECONDS
        while self._outcome is None:
            poll.register(self._link.descriptor, self._link.events())
            is_new = time.monotonic() < self._begun + _NEW_SECONDS
            for descriptor, _ in poll.poll(1000 * (_NEW_TICK_SECONDS if is_new else _TICK_SECONDS)):
                self._handle_one(poll, descriptor)
            now = time.monotonic()
            if self._watch and not self._outcome and (now >= next_tick or (is_new and now >= next_count)):
                self._watch.see_to_shares()
                next_count = time.monotonic() + _NEW_TICK_SECONDS
            if now >= next_tick:
                self._tick(now)
                next_tick = time.monotonic() + _TICK_SECONDS

    def _registered(self) -> dict[int, int]:
        """Return what to wait for, besides the socket to Berth."""
        pipes = self._child.pipes
        found = dict.fromkeys(pipes.readable(), select.POLLIN)
        return found if pipes.stdin is None else {**found, pipes.stdin: select.POLLOUT}

    def _handle_one(self, poll: "select.poll", descriptor: int) -> None:
        pipes = self._child.pipes
        if descriptor == self._link.descriptor:
            self._link.flush()
            self._outcome = "cancelled" if self._link.is_cancelled() else self._outcome
        elif descriptor == pipes.status:
            self._read_status(poll)
        elif descriptor == pipes.stdin:
            pipes.feed(poll)
        elif self._watch is not None and descriptor == self._watch.descriptor:
            self._note_exceeded()
        else:
            self._read_output(poll, descriptor)

    def _read_status(self, poll: "select.poll") -> None:
        if not self._child.read_status():
            poll.unregister(self._child.pipes.status)
            self._outcome = self._outcome or "exit"
        elif self._child.init is not None and self._watch is None:
            if self.proxy is not None:
                bridge(self._child.init, self.proxy)  # which forks, before there is another thread
            self._watch = Watch(self._child.init, self._limits, self._top, runs_guest=self._child.runs_guest)
            poll.register(self._watch.descriptor, select.POLLIN)
            self._child.release(self._child.init)

    def _read_output(self, poll: "select.poll", descriptor: int) -> None:
        name = self._child.pipes.name(descriptor)
        if self._left == 0 and self._child.pipes.throw_away(descriptor):
            self._is_truncated = True
            return
        data = self._child.pipes.read(descriptor, _CHUNK)
        if data:
            self._pass_on(name, data)
        elif data is not None:
            poll.unregister(descriptor)

    def _pass_on(self, name: str, data: bytes) -> None:
        if name == "stderr":
            is_first = self._first_error == self._held_back[:_KEPT_FOR_ERRORS]
            self._first_error = (self._first_error + data)[:_KEPT_FOR_ERRORS]
            data, self._held_back = self._held_back + data, b""
            if self._starts_command and is_first and len(data) < self._left and may_say_not_started(data):
                self._held_back = data  # until it is known whether bwrap has written it
                return
        self._send(name, data)

    def _send(self, name: str, data: bytes) -> None:
        kept, self._left = data[: self._left], max(0, self._left - len(data))
        self._is_truncated |= len(kept) < len(data)
        if kept:
            self._link.send(_OUTPUT[name], kept)

    def _tick(self, now: float) -> None:
        if now - self._begun >= self._limits["seconds"]:
            self._outcome = self._outcome or "timeout"
        elif self._watch is not None:
            self._note_exceeded()
            self._watch.begin_look()
        if self._group.ran_out_of_memory():
            self._outcome = "memory"

    def _note_exceeded(self) -> None:
        """End the command if a look has found a reason."""
        self._outcome = (self._watch and self._watch.found()) or self._outcome

    def check_memory(self) -> None:
        """Look once more whether the kernel ended the command for its memory, which may be seen later than its end."""
        if self._outcome == "exit" and self._group.ran_out_of_memory():
            self._outcome = "memory"

    def check_disk(self, limits: dict[str, Any] | None = None) -> None:
        """Look once more at what the command wrote; it may have done so after the last look.

        `limits` are others than those that held while it ran.
        """
        limits, (size, count) = limits or self._limits, used(self._top)
        if self._outcome in {"exit", "timeout"} and (size > limits["disk_bytes"] or count > limits["files"]):
            self._outcome = "disk"

    def report(self) -> None:
        """Tell Berth how the command ended; no process of it is left."""
        code = self._child.exit_code(self._first_error)
        if self._outcome == "exit" and code is None:
            self._link.send(FAILED, self._first_error or b"the sandbox ended early")
            return
        result = {
            "outcome": self._outcome,
            "exit_code": code if self._outcome == "exit" else None,
            "truncated": self._is_truncated,
            "seconds": self._ended - self._begun,
            "report": self._child.pipes.report().decode(errors="replace"),
        }
        self._link.send(RESULT, json.dumps(result).encode())
