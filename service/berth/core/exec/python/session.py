"""The program of a session: an interpreter that runs programs as they come, with the same variables.

Berth passes the text of this module, after that of `program`, to the Python of the sandbox; see `texts`.
"""

import json
import linecache
import os
import signal
import sys
import tempfile
import traceback  # noqa: F401 - for errors, which come sooner then
from contextlib import suppress
from time import tzset
from typing import Any

from berth.core.exec.python.program import (
    INTERRUPTED,
    PYPLOT,
    ShowFinder,
    known_lines,
    main_namespace,
    save_pictures,
    show_error,
    shown,
    value_of,
)

LONG_BITS = 64
"""The exit code that Python has for an integer which takes more bits is that of -1."""
KEPT_SOURCES = 100
"""Of how many programs, the last ones, the text is kept for errors in the functions that they have defined."""
NO_FOLDER = 126
"""The exit code of shells for a folder that cannot be changed to."""


class Session:
    """An interpreter that runs programs as they come: each is a line with a number and JSON, as is each answer."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.namespace = main_namespace()
        self.count = 0
        self.had_input = True
        self.streams = {1: os.dup(1), 2: os.dup(2)}
        self.nothing = os.open(os.devnull, os.O_RDONLY)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.held = signal.valid_signals() - {signal.SIGINT}
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.held)
        sys.meta_path.insert(0, ShowFinder())

    def serve(self, requests: int, reports: int) -> None:
        """Run programs until there are no more."""
        with open(requests, "rb") as lines:
            for line in lines:
                number, _, request = line.partition(b" ")
                answer = self.run(json.loads(request))
                self.flush()
                if os.getpid() != self.process:  # a copy of this process, which the program made, ends here
                    os._exit(int(answer["exit_code"]))
                os.write(reports, number + b" " + json.dumps(answer).encode() + b"\n")

    def run(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run a program; return its exit code and what it displayed."""
        self.count += 1
        shown.clear()
        self.keep_source(request["source"])
        self.renew_streams(request["stdin"])
        forget_helpers()
        forget_figures()
        try:
            os.chdir(request["cwd"])
        except OSError as error:
            sys.stderr.write(f"cannot change to {request['cwd']}: {error.strerror}\n")
            return {"exit_code": NO_FOLDER, "displays": []}
        before = {name: os.environ.get(name) for name in request["env"]}
        set_variables(request["env"])
        try:
            return self.guarded(request["source"])
        except KeyboardInterrupt:  # it came a moment too late for the program
            return {"exit_code": INTERRUPTED, "displays": []}
        except BaseException as error:  # noqa: BLE001 - the program may have replaced what shows its error
            os.write(2, f"{type(error).__name__}: {error}\n".encode(errors="replace"))
            return {"exit_code": 1, "displays": []}
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            set_variables(before)

    def keep_source(self, source: str) -> None:
        """Have errors and `inspect` show the lines of a program, in later ones too; each may warn of the same again."""
        self.namespace.pop("__warningregistry__", None)
        name = f"<code {self.count}>"
        with suppress(Exception):  # the program before may have put anything there
            linecache.cache[name] = known_lines(source, name)
            linecache.cache.pop(f"<code {self.count - KEPT_SOURCES}>", None)

    def guarded(self, source: str) -> dict[str, Any]:
        """Run a program, print the value of its last expression, and save what it displays.

        Signals that come between two programs, such as that of a timer, wait for the next one. That with which Berth
        resumes the interpreter is none of them: a handler of a program before could let each program fail.
        """
        name, value, code = f"<code {self.count}>", None, 0
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            signal.sigtimedwait({signal.SIGCONT}, 0)
            signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)
            value = value_of(source, name, self.namespace)
            if value is not None:  # a hook of the program's own could print it after each statement
                sys.displayhook(value)
        except SystemExit as error:
            code = exit_code(error)
        except KeyboardInterrupt as error:
            show_error(error, source, name)
            return {"exit_code": INTERRUPTED, "displays": list(shown)}
        except BaseException as error:  # noqa: BLE001 - of the code
            show_error(error, source, name)
            code = 1
        finally:
            self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, self.held)
        return {"exit_code": code, "displays": save_pictures(value)}

    def renew_streams(self, text: str) -> None:
        """Have the standard streams be those of Berth, whatever the program before has done with them."""
        for number, kept in self.streams.items():
            os.dup2(kept, number)
        if not is_usable("stdout"):
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - it lasts until another program replaces it
        if not is_usable("stderr"):
            sys.stderr = open(2, "w", closefd=False, buffering=1)  # noqa: SIM115 - the same
        if text or self.had_input or not is_usable("stdin"):
            self.give_input(text)
            sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it lasts for the whole program
            self.had_input = bool(text)

    def give_input(self, text: str) -> None:
        """Have the standard input be a file without a name; programs that are started can read it, too."""
        if not text:
            os.dup2(self.nothing, 0)
            return
        with tempfile.TemporaryFile() as file:
            file.write(text.encode())
            file.seek(0)
            os.dup2(file.fileno(), 0)

    def flush(self) -> None:
        """Write what is left in buffers."""
        for name in ("stdout", "stderr"):
            with suppress(Exception):  # the program may have put anything there
                getattr(sys, name).flush()


def set_variables(values: dict[str, str | None]) -> None:
    """Set environment variables, and remove those that are None; the time is that of their zone."""
    for name, value in values.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    if "TZ" in values:
        tzset()


def forget_helpers() -> None:
    """Have `multiprocessing` start its resource tracker again: processes end with the program that started them.

    It would warn of the end otherwise, and what a program before registered is not known to the new one. What is not
    unregistered any more does no harm: the tracker is killed before it would remove it.
    """
    with suppress(Exception):  # the program may have put anything there, and other versions of Python may differ
        tracker: Any = getattr(sys.modules.get("multiprocessing.resource_tracker"), "_resource_tracker", None)
        state, send = vars(tracker), vars(type(tracker))["_send"]
        if state["_fd"] is not None:
            state["_send"] = lambda command, *named: None if command == "UNREGISTER" else send(tracker, command, *named)
            os.close(state["_fd"])
            ended, state["_fd"], state["_pid"] = state["_pid"], None, None
            os.waitpid(ended, os.WNOHANG)


def forget_figures() -> None:
    """Close the figures that a program left open as it was interrupted: the next one does not display them."""
    with suppress(Exception):  # the program may have put anything there
        if pyplot := sys.modules.get(PYPLOT):
            pyplot.close("all")


def is_usable(name: str) -> bool:
    """Return whether a program that uses a standard stream finds one; it may be of a class of a program before."""
    stream = getattr(sys, name, None)
    try:
        return stream is not None and not getattr(stream, "closed", False)
    except ValueError:  # it was detached
        return False


def exit_code(error: SystemExit) -> int:
    """Return the exit code that Python has for an error of `sys.exit`; print its message."""
    if error.code is None or isinstance(error.code, int):
        value = error.code or 0
        return value & 0xFF if value.bit_length() < LONG_BITS else 0xFF
    with suppress(Exception):  # as in `flush`
        sys.stderr.write(f"{error.code}\n")
    return 1
