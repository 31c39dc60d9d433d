"""How much of the processor commands have beside what Berth runs, and that they cannot change that."""

from pathlib import Path

import pytest

from berth.core.exec.sandbox import Outcome
from support.sandboxes.opened import Opened

WAIT = "def wait():\n while 'nice 10' not in open('/proc/self/autogroup').read(): pass\n"
"""Waits until the kernel gives a session a small share."""
needs_autogroup = pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(),
    reason="this kernel has no autogroup: it shares the processor among processes, not among sessions",
)


def skip_guest(sandbox: Opened) -> None:
    """Skip what only a command on the kernel of the host can see."""
    if sandbox.runs_guest:
        pytest.skip("a guest of gVisor cannot see how the kernel of the host shares the processor")


@needs_autogroup
def test_sessions_have_a_small_share_of_the_processor(sandbox: Opened) -> None:
    """What is in a session gets less of it than Berth, also in one that a command makes itself."""
    skip_guest(sandbox)
    source = (
        f"import os\n{WAIT}"
        "wait()\nif (child := os.fork()) == 0: os.setsid(); wait(); os._exit(0)\nos.waitpid(child, 0); print('both')"
    )
    assert sandbox.python(source, seconds=20).stdout == b"both\n"


def test_a_command_is_nicer_than_berth(sandbox: Opened) -> None:
    """A command gets less of the processor than what Berth runs, and cannot change that."""
    skip_guest(sandbox)
    assert sandbox.python("import os; print(os.nice(0), os.sched_getscheduler(0))").stdout == b"15 0\n"


@pytest.mark.parametrize("kind", ["os.fork", "lambda: threading.Thread(target=wait).start()"])
def test_a_crowd_waits_for_what_berth_runs(kind: str, sandbox: Opened) -> None:
    """Each of many processes or threads has a processor when nothing else wants it, and cannot change that."""
    skip_guest(sandbox)
    source = (
        "import os, threading\ndef wait():\n while os.sched_getscheduler(0) != os.SCHED_IDLE: pass\n"
        f"start, me = {kind}, os.getpid()\n"
        "for number in range(8):\n if os.getpid() == me: start()\n"
        "wait()\ntry: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))\n"
        "except PermissionError: print(end='idle ')"
    )
    ran = sandbox.python(source + "\nwhile os.getpid() == me and threading.active_count() > 1: pass", seconds=20)
    assert set(ran.stdout.split()) == {b"idle"}, ran


def test_a_crowd_may_ask_for_less_itself(sandbox: Opened) -> None:
    """Processes that already run last, with a flag that cannot be taken back, go on."""
    skip_guest(sandbox)
    source = (
        "import os, signal, time\nos.sched_setscheduler(0, os.SCHED_IDLE | os.SCHED_RESET_ON_FORK, os.sched_param(0))\n"
        "for _ in range(8):\n if os.fork() == 0: signal.pause()\n"
        "until = time.monotonic() + 0.3\nwhile time.monotonic() < until: pass\nprint('on')"
    )
    assert sandbox.python(source, seconds=20).stdout == b"on\n"


def test_a_crowd_cannot_keep_its_turns(sandbox: Opened) -> None:
    """Processes that set a flag, which only root could take back, run last, too."""
    skip_guest(sandbox)
    source = (
        "import os\nflag, none = os.SCHED_RESET_ON_FORK, os.sched_param(0)\n"
        "for number in range(12):\n if os.fork() == 0:\n"
        "  try: os.sched_setscheduler(0, os.SCHED_OTHER | flag, none)\n"
        "  except PermissionError: os._exit(0)\n"  # it was seen before
        "  while os.sched_getscheduler(0) != os.SCHED_IDLE | flag: pass\n"
        "  os._exit(0)\n"
        "for _ in range(12): os.wait()\nprint('last')"
    )
    assert sandbox.python(source, seconds=20).stdout == b"last\n"


@needs_autogroup
def test_sessions_of_ended_processes_hide_no_others(sandbox: Opened) -> None:
    """Each of ten sessions has a small share, also beside ten of processes that have ended and nothing waits for."""
    skip_guest(sandbox)
    source = (
        f"import os\n{WAIT}begun, begin = os.pipe()\n"
        "if (older := os.fork()) == 0:\n"
        "  os.read(begun, 1)\n"
        "  for _ in range(10):\n    if os.fork() == 0: os.setsid(); wait(); os._exit(0)\n"
        "  [os.wait() for _ in range(10)] and os._exit(0)\n"
        "for _ in range(10):\n  read, write = os.pipe()\n"
        "  if os.fork() == 0: os.setsid(); os._exit(0)\n  os.close(write); os.read(read, 1); os.close(read)\n"
        "os.write(begin, b'x')\nos.waitpid(older, 0)\nprint('all')"
    )
    assert sandbox.python(source, seconds=20).stdout == b"all\n"


@needs_autogroup
def test_a_session_without_its_first_thread_has_a_small_share(sandbox: Opened) -> None:
    """Its process has no memory to be seen then, and goes on in another thread."""
    skip_guest(sandbox)
    source = (
        f"import ctypes, os, platform, threading\n{WAIT}"
        "def work(): wait(); os._exit(0)\n"
        "if os.fork() == 0:\n  os.setsid(); threading.Thread(target=work).start()\n"
        "  ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)\n"
        "print(os.wait()[1])"
    )
    assert sandbox.python(source, seconds=20).stdout == b"0\n"


@needs_autogroup
def test_a_session_that_was_hidden_has_a_small_share(sandbox: Opened) -> None:
    """The share of a program that may not be read cannot be changed, so that is tried again later."""
    skip_guest(sandbox)
    source = (
        "import os, shutil\nshutil.copy('/bin/sh', '/tmp/sh')\nos.chmod('/tmp/sh', 0o111)\n"
        f"later = {WAIT!r} + 'wait()'\n"
        "count = 'n=0; while [ $n -lt 200000 ]; do n=$((n + 1)); done; exec python3 -c \"$0\"'\n"
        "if os.fork() == 0: os.setsid(); os.execv('/tmp/sh', ['sh', '-c', count, later])\n"
        "print(os.wait()[1])"
    )
    ran = sandbox.python(source, seconds=20, disk_bytes=1 << 40)  # while it is hidden, what others write counts
    assert (ran.result.outcome, ran.stdout) == (Outcome.EXIT, b"0\n"), ran
