"""Runs a session: an interpreter in a sandbox that gets one program after the other, and is stopped between them.

The folder of the container's files is not an overlay here, since a mounted overlay must not be changed from outside:
the session works in a plain folder, which Berth compares with what it was after the last program. The socket to Berth
carries messages, each with its length: first what to start, then programs and requests to interrupt them.
"""

import json
import os
import select
import time
from typing import Any

from berth.adapters.sandbox.process import linux
from berth.adapters.sandbox.process.arguments import Layout, arguments, process_limit
from berth.adapters.sandbox.process.bridge import bridge
from berth.adapters.sandbox.process.cgroup import Group, Groups
from berth.adapters.sandbox.process.changes import make_accessible
from berth.adapters.sandbox.process.children import Sandboxed, start
from berth.adapters.sandbox.process.link import Link
from berth.adapters.sandbox.process.session.files import update
from berth.adapters.sandbox.process.session.freezer import INTERPRETER, Freezer
from berth.adapters.sandbox.process.staging import stage
from berth.adapters.sandbox.process.supervision import FAILED, RESULT, Supervision
from berth.adapters.sandbox.process.watch.watch import Watch

_GRACE_SECONDS = 0.5
"""How long a program may take to end after it was interrupted."""
_FIRST_LOOK_SECONDS = 0.04
"""From when on the watch looks; what a shorter program uses is counted at its end."""
_LOOK_SECONDS = 1.0
"""How often is looked whether the interpreter is still stopped, which it should be."""
_MAX_REPORT = 1 << 16
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def run_session(spec: dict[str, Any], link: Link, groups: Groups) -> None:
    """Run the session that `spec` describes until it ends or Berth ends it."""
    linux.adopt_orphans()
    group = groups.made(spec["limits"]["memory_bytes"], process_limit(spec))
    placed = stage(spec["sources"], [spec["files"], spec["changes"]], spec["proxy"], spec["uid"])
    folder = placed.path(spec["files"])
    child = start(Layout({**spec, "overlay": False}, placed.path, {"upper": folder}), arguments, group)
    session = Session(spec["limits"], link, child, group, folder, placed.path(spec["changes"]))
    session.proxy = spec["proxy"] and placed.path(spec["proxy"])
    try:
        session.serve()
    finally:
        child.kill()


class Session:
    """A sandbox with an interpreter for programs on the files in `folder`; new files come in folders of `incoming`."""

    def __init__(
        self, limits: dict[str, Any], link: Link, child: Sandboxed, group: Group, folder: str, incoming: str
    ) -> None:
        self.limits = limits
        self.link = link
        self.child = child
        self.group = group
        self.top = os.open(folder, _DIRECTORY)
        self.watch: Watch | None = None
        self.proxy: str | None = None
        self.has_begun = False
        self.count = 0
        self._incoming = incoming
        self._messages: list[dict[str, Any]] = []

    def serve(self) -> None:
        """Run programs until the session has ended or Berth has no more interest in it."""
        is_alive = True
        while is_alive:
            message = self._next()
            if message is None:
                return
            if "request" in message:
                is_alive = self._run(message)

    def _run(self, message: dict[str, Any]) -> bool:
        incoming = message["incoming"] and f"{self._incoming}/{message['incoming']}"
        program = Program(self, message)
        blocked = update(self.top, incoming, message["removed"])
        if self._messages:  # it was cancelled before it began
            self._messages.clear()
            return program.skip(blocked)
        self.has_begun = True
        return program.run(blocked)

    def _next(self) -> dict[str, Any] | None:
        """Wait for a message; return None if there will be none, or the interpreter has ended."""
        poll = select.poll()
        poll.register(self.child.pipes.status, select.POLLIN)
        while not self._messages or self.watch is None:
            poll.register(self.link.descriptor, self.link.events())
            if not (found := poll.poll(_LOOK_SECONDS * 1000)) and not self._is_at_rest():
                return None
            for descriptor, _ in found:
                if descriptor == self.child.pipes.status:
                    if not self._read_status():
                        return None
                else:
                    self.link.flush()
                    self._messages += self.link.messages()
                    if self.link.is_closed:
                        return None
        return self._messages.pop(0)

    def _is_at_rest(self) -> bool:
        """Return whether the interpreter does not run; it has not been stopped before its first program."""
        if self.watch is None or self.watch.proc is None or not self.has_begun:
            return True
        return Freezer(self.watch.proc).is_stopped()

    def _read_status(self) -> bool:
        """Note what bwrap reports; return False if it has ended."""
        if not self.child.read_status():
            if self.watch is None:
                self.link.send(FAILED, self.child.pipes.read(self.child.pipes.stderr, _MAX_REPORT) or b"it ended early")
            return False
        if self.child.init is not None and self.watch is None:
            if self.proxy is not None:
                bridge(self.child.init, self.proxy)  # which forks, before there is another thread
            self.watch = Watch(self.child.init, self.limits, self.top, runs_guest=self.child.runs_guest)
            self.child.release(self.child.init)
        return True


class Program(Supervision):
    """The supervision of one program of a session."""

    _starts_command = False

    def __init__(self, session: Session, message: dict[str, Any]) -> None:
        limits = {**session.limits, **message["limits"]}
        super().__init__(limits, session.link, session.child, session.top, session.group)
        if session.watch is None:
            raise ValueError("the sandbox has not been set up")
        self._watch: Watch = session.watch
        self._watch.go_on(limits)
        session.count += 1
        self._number = f"{session.count} ".encode()
        self._request = memoryview(self._number + message["request"].encode() + b"\n")
        self._received = b""
        self._report = b""
        self._interrupted_for: str | None = None
        self._was_interrupted = False
        self._deadline = 0.0
        self._is_over = False

    def run(self, blocked: list[str]) -> bool:
        """Run the program and tell Berth how it ended; return whether the session can go on."""
        self._begun, pipes = time.monotonic(), self._child.pipes
        while pipes.read(pipes.reports, _MAX_REPORT):
            pass  # from the program before
        self._send_request()  # before it goes on, so that it need not wait once more
        if (freezer := self._freezer()) is not None:
            freezer.go_on()
        self._until_outcome()
        self._ended = time.monotonic()
        is_alive = self._is_stopped()
        pipes.drain(self._pass_on)
        make_accessible(self._top, self._top)
        self._link.send(RESULT, json.dumps(self._result(blocked, is_alive=is_alive)).encode())
        return is_alive

    def skip(self, blocked: list[str]) -> bool:
        """Tell Berth that the program was cancelled."""
        self._watch.exceeded_at_rest(self._limits, ran=0.0)
        self._outcome = "cancelled"
        self._link.send(RESULT, json.dumps(self._result(blocked, is_alive=True)).encode())
        return True

    def _is_stopped(self) -> bool:
        """Stop the session until the next program, or end it; return whether it is stopped and within its limits."""
        freezer = self._freezer()
        is_stopped = not self._is_over and freezer is not None and freezer.stop() and self._watch.has_ended_look()
        if is_stopped:
            ran = time.monotonic() - self._begun
            self._outcome = self._watch.exceeded_at_rest(self._limits, ran=ran) or self._outcome
            is_stopped = self._outcome not in {"memory", "disk"}
        if not is_stopped:
            self._child.kill()
            self.check_memory()
            self.check_disk()
        return is_stopped

    def _result(self, blocked: list[str], *, is_alive: bool) -> dict[str, Any]:
        outcome = self._interrupted_for if self._outcome == "exit" and self._interrupted_for else self._outcome
        return {
            "alive": is_alive,
            "mapped": is_alive and self._watch.has_mapped_files(INTERPRETER),
            "blocked": blocked,
            "outcome": outcome,
            "exit_code": None if is_alive or outcome != "exit" else self._child.exit_code(self._first_error),
            "truncated": self._is_truncated,
            "seconds": self._ended - self._begun,
            "report": self._report.decode(errors="replace"),
        }

    def _freezer(self) -> Freezer | None:
        return None if self._watch.proc is None else Freezer(self._watch.proc)

    def _registered(self) -> dict[int, int]:
        """Return what to wait for, besides the socket to Berth."""
        pipes = self._child.pipes
        feeding = {pipes.requests: select.POLLOUT} if self._request else {}
        read = dict.fromkeys((pipes.reports, self._watch.descriptor), select.POLLIN)
        return {**super()._registered(), **feeding, **read}

    def _handle_one(self, poll: "select.poll", descriptor: int) -> None:
        pipes = self._child.pipes
        if descriptor == self._link.descriptor:
            self._hear()
        elif descriptor == pipes.requests:
            self._feed(poll)
        elif descriptor == pipes.reports:
            self._read_report(poll)
        else:
            super()._handle_one(poll, descriptor)

    def _hear(self) -> None:
        self._link.flush()
        if self._link.messages():
            self._interrupt("cancelled")
        if self._link.is_closed:
            self._end("cancelled")

    def _feed(self, poll: "select.poll") -> None:
        self._send_request()
        if not self._request:
            poll.unregister(self._child.pipes.requests)

    def _send_request(self) -> None:
        """Send what the pipe has room for."""
        try:
            self._request = self._request[os.write(self._child.pipes.requests, self._request[:_MAX_REPORT]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._request = self._request[:0]  # it will not read it any more

    def _read_report(self, poll: "select.poll") -> None:
        data = self._child.pipes.read(self._child.pipes.reports, _MAX_REPORT)
        if data == b"":
            poll.unregister(self._child.pipes.reports)
        # A line with another number is that of a program before: it had already ended when it said so itself.
        *lines, self._received = (self._received + (data or b"")).split(b"\n")
        if len(self._received) >= _MAX_REPORT:
            lines, self._received = [*lines, self._received], b""
        for line in lines:
            if line.startswith(self._number):
                self._report = line[len(self._number) :][:_MAX_REPORT]
                self._outcome = self._outcome or "exit"

    def _read_status(self, poll: "select.poll") -> None:
        super()._read_status(poll)
        self._is_over |= self._outcome is not None

    def _tick(self, now: float) -> None:
        if now - self._begun >= self._limits["seconds"]:
            self._interrupt("timeout")
        if self._interrupted_for is not None:
            self._send_interrupt()
            if now >= self._deadline:
                self._end(self._interrupted_for)
        if now > self._begun + _FIRST_LOOK_SECONDS:
            self._note_exceeded()
            self._watch.begin_look()
        if self._group.ran_out_of_memory():
            self._end("memory")

    def _note_exceeded(self) -> None:
        if (exceeded := self._watch.found()) is not None:
            self._end(exceeded)

    def _interrupt(self, outcome: str) -> None:
        """Send what Ctrl-C sends, and end the session if that does not help soon."""
        if self._interrupted_for is None:
            self._interrupted_for = outcome
            self._deadline = time.monotonic() + _GRACE_SECONDS
            self._send_interrupt()

    def _send_interrupt(self) -> None:
        """Send it once; later if the interpreter is about to begin the program, and ignores it for a moment."""
        if not self._was_interrupted and (freezer := self._freezer()) is not None:
            self._was_interrupted = freezer.interrupt()

    def _end(self, outcome: str) -> None:
        self._outcome = self._outcome or outcome
        self._is_over = True
