"""Sessions in a real sandbox: what they keep, how they are stopped between programs, and how they end."""

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from berth.adapters.sandbox import seccomp
from berth.core.exec.python.reports import ProgramReport, read_report, request_line
from berth.core.exec.python.texts import session_text
from berth.core.exec.sandbox import FILES_AT, Outcome, SandboxCommand, SandboxSession, SessionProgram, Stream
from support.clients.polling import wait_until
from support.measuring.processes import processes_with
from support.sandboxes.attempts import FILES, KERNEL, RUNNER
from support.sandboxes.excesses import HIDE
from support.sandboxes.opened import LIMITS, Opened, Ran, collected, opened_sandbox

ROOM = 256 << 20
"""A limit of the disk that nothing else which runs at the same time exceeds."""
PROCESSES = (
    "attach to the first process",
    "read the memory of a process",
    "write the memory of a process",
    "take an open file of a process",
    "send a signal to the host",
    "have rights",
    "get new rights",
    "have a new user namespace",
)
"""What concerns the processes that a session keeps; the rest is the same as in any sandbox."""


class Warm:
    """A session for tests, with the files that its container is said to have."""

    def __init__(self, sandbox: Opened, session: SandboxSession, command: SandboxCommand) -> None:
        self._sandbox = sandbox
        self.session = session
        self.command = command
        self.paths = {"kept.txt"}
        self._count = 0

    def run(self, source: str, *, stdin: str = "", removed: tuple[str, ...] = (), **given: Any) -> Ran:
        """Run a program to its end; `new` are files that the API added before, and further words are limits."""
        new: dict[str, bytes] = given.pop("new", {})
        limits = replace(LIMITS, **given)
        incoming = self._incoming(new) if new else None
        line = request_line(source, stdin=stdin.encode(), cwd=FILES_AT, env={})
        return self._sandbox.wait(self._ran(SessionProgram(line, limits, incoming, removed)))

    def is_old(self, path: str) -> bool:
        """Return whether a file is so old that its times are trusted."""
        return time.time() - (self.command.files / path).stat().st_ctime > 0.15

    def _incoming(self, new: dict[str, bytes]) -> Path:
        self._count += 1
        folder = self.command.changes / str(self._count)
        for path, content in new.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        self.paths |= new.keys()
        return folder

    async def _ran(self, program: SessionProgram) -> Ran:
        found: dict[Stream, bytes] = dict.fromkeys(Stream, b"")
        async with self.session.run(program) as run:
            async for stream, data in run.output():
                found[stream] += data
            result = await run.result()
        ran = Ran(result, found[Stream.STDOUT], found[Stream.STDERR])
        collected(self.session.harvest(program.limits, self.paths), ran)
        return ran


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opened]:
    """Open the driver once: no session has an overlay."""
    with opened_sandbox(tmp_path_factory.mktemp("sandbox"), "copies") as sandbox:
        yield sandbox


@contextmanager
def warm(sandbox: Opened, mark: str = "") -> Iterator[Warm]:
    """Start a session, which has `mark` in its arguments, and end it."""
    command = sandbox.command("python3", "-c", f"{session_text()}\n# {mark}", cpu_seconds=1 << 40)
    session = sandbox.wait(sandbox.sandbox.session(command))
    try:
        yield Warm(sandbox, session, command)
    finally:
        sandbox.wait(session.close())


@pytest.fixture(scope="module")
def shared(sandbox: Opened) -> Iterator[Warm]:
    """Return a session that several tests use; each leaves it alive."""
    with warm(sandbox) as session:
        yield session


def report(ran: Ran) -> ProgramReport:
    return read_report(ran.result.report)


def test_variables_are_kept(shared: Warm) -> None:
    """Programs share their variables; each has an exit code of its own, and the session goes on after an error."""
    assert shared.run("x = 41").result.outcome is Outcome.EXIT
    assert shared.run("x += 1\nx").stdout == b"42\n"
    failed = shared.run("1 / 0")
    assert (report(failed).exit_code, failed.result.exit_code) == (1, None)
    assert b"ZeroDivisionError" in failed.stderr
    assert shared.run("print(input())\nx", stdin="in\n").stdout == b"in\n42\n"
    assert shared.session.is_alive


def test_changes_are_found_after_each_program(shared: Warm) -> None:
    """A file is changed if its content is, whatever a program does with its size and times; links are skipped."""
    ran = shared.run(
        "import os\nopen('kept.txt').read()\nopen('a', 'w').write('old')\nos.mkdir('d')\nopen('d/b', 'w').close()\n"
        "os.symlink('/etc/passwd', 'link')"
    )
    assert (ran.changed["a"], ran.changed["d/b"], set(ran.skipped)) == (b"old", b"", {"link"})
    shared.paths |= {"a", "d/b"}
    wait_until(lambda: shared.run("None").changed == {})  # from when on the times of the files are trusted
    ran = shared.run("s = os.stat('a')\nopen('a', 'w').write('new')\nos.utime('a', ns=(s.st_atime_ns, s.st_mtime_ns))")
    assert ran.changed == {"a": b"new"}
    assert shared.run("os.remove('a'); os.rename('d/b', 'c')").deleted == {"a", "d/b"}
    shared.paths -= {"a", "d/b"}


def test_changes_through_memory_are_found(shared: Warm) -> None:
    """What is written to memory that is mapped from a file is a change in each program, though no time tells."""
    shared.run("import mmap\nf = open('m', 'w+b')\nf.truncate(4096)\nm = mmap.mmap(f.fileno(), 4096)\nm[0] = 1")
    for number in (2, 3):
        assert shared.run(f"m[0] = {number}").changed["m"][0] == number
    assert shared.run("m[0] = 4\nm.close(); f.close()").changed["m"][0] == 4


def test_changes_through_protected_memory_are_found(shared: Warm) -> None:
    """Memory that is shared with a file and protected between programs can be written to without a new time."""
    shared.run(
        "import ctypes, mmap\nf = open('p', 'w+b')\nf.truncate(4096)\nm = mmap.mmap(f.fileno(), 4096)\n"
        "at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(m)))\n"
        "protect = lambda rights: ctypes.CDLL(None).mprotect(at, ctypes.c_size_t(4096), rights)\nm[0] = 1; protect(1)"
    )
    wait_until(lambda: shared.is_old("p"))
    shared.run("None")
    shared.run("None")
    for number in (2, 3):
        assert shared.run(f"protect(3); m[0] = {number}; protect(1)").changed["p"][0] == number


def test_what_the_api_changed_is_there(shared: Warm) -> None:
    """New files replace what is in their way, except a folder that is in use; removed ones are gone; links stay."""
    shared.run(
        "import os\nos.symlink('/', 'api')\nos.mkfifo('pipe')\nos.mkdir('empty')\nos.mkdir('full')\nopen('full/x', 'w')"
    )
    new = {"api/one": b"1", "pipe": b"2", "empty": b"3", "full": b"4", "sub/deep/two": b"5"}
    ran = shared.run("[open(p).read() for p in ('api/one', 'pipe', 'empty', 'sub/deep/two')]", new=new)
    assert ran.stdout == b"['1', '2', '3', '5']\n", ran.stderr
    assert ran.result.blocked == ("full",)
    assert not Path("/one").exists()
    shared.paths -= {"full"}
    ran = shared.run("os.path.exists('sub'), os.path.exists('pipe')", removed=("sub/deep/two", "pipe", "none/x"))
    assert ran.stdout == b"(False, False)\n"
    shared.paths -= {"sub/deep/two", "pipe"}


def test_a_forged_report_ends_one_program(sandbox: Opened) -> None:
    """A program that says itself that it has ended gets this result; those after it get their own."""
    forge = (
        "import os, time\nfor fd in range(3, 12):\n  try: os.write(fd, b'1 {\"exit_code\": 7}\\nnonsense\\n')\n"
        "  except OSError: pass\nwhile not os.path.exists('go'): time.sleep(0.01)\nprint('late')"
    )
    with warm(sandbox) as session:
        assert report(session.run(forge)).exit_code == 7
        second, third = [
            session.run(f"time.sleep(0.1); print({n}); raise SystemExit({n})", new={"go": b""}) for n in (2, 3)
        ]
    assert (report(second).exit_code, second.stdout) == (2, b"late\n2\n")
    assert (report(third).exit_code, third.stdout) == (3, b"3\n")


def test_nothing_runs_between_programs(shared: Warm) -> None:
    """Threads go on in the next program only, and processes that a program has left are ended."""
    shared.run(
        "import os, threading, time, subprocess\nn = 0\n"
        "def count():\n  global n\n  while True: n += 1; open('count', 'w').write(str(n)); time.sleep(0.001)\n"
        "threading.Thread(target=count, daemon=True).start()\nchild = subprocess.Popen(['sleep', '1000'])\n"
        "while not os.path.exists('count'): time.sleep(0.01)\n"
        "if os.fork() == 0:\n  os.setsid()\n  while True:\n    if os.fork(): os._exit(0)"
    )
    count = shared.command.files / "count"
    before = count.read_bytes()
    time.sleep(0.1)
    assert count.read_bytes() == before
    ran = shared.run(
        "import glob\nstates = []\nfor path in glob.glob('/proc/[0-9]*/stat'):\n"
        "  try: states.append(open(path).read().rpartition(')')[2][1])\n  except OSError: pass  # reaped\n"
        "before = n\nwhile n == before: time.sleep(0.01)\nprint(len(states) - states.count('Z'), child.wait(), n)"
    )
    running, code, number = map(int, ran.stdout.split())
    assert (running, code) == (2, -9)  # the first process of the sandbox and the interpreter
    assert number > int(before or 0)  # it may have been stopped before it wrote


RESUMPTIONS = {
    "a timer": "libc.timer_create(1, byref(event), byref(c_void_p()))",
    "a file": "fcntl.fcntl(1, fcntl.F_SETSIG, signal.SIGCONT)",
    "a file that is a socket": "fcntl.fcntl(socket.socketpair()[0], fcntl.F_SETSIG, signal.SIGCONT)",
}


@pytest.mark.parametrize("how", RESUMPTIONS)
def test_nothing_can_be_asked_to_resume_it(how: str, shared: Warm) -> None:
    """The kernel takes no order to send a signal later, which would have the interpreter go on."""
    ran = shared.run(
        "import errno, fcntl, signal, socket\nfrom ctypes import *\nlibc = CDLL(None, use_errno=True)\n"
        "class Event(Structure): _fields_ = [('v', c_void_p), ('n', c_int), ('k', c_int), ('p', c_char * 48)]\n"
        "event = Event(None, signal.SIGCONT, 0)\n"
        f"try: failed = ({RESUMPTIONS[how]}) == -1 and get_errno() in (errno.EPERM, errno.ENOSYS)\n"
        "except PermissionError: failed = True\nfailed"
    )
    assert ran.stdout == b"True\n", ran


def test_the_end_of_its_processes_does_not_resume_it(shared: Warm) -> None:
    """Neither children with SIGCONT as the signal of their end, nor processes of which the first thread has ended."""
    ran = shared.run(
        "import ctypes, os, platform, signal, threading, time\nlibc = ctypes.CDLL(None)\nticks = 0\n"
        "def tick():\n  global ticks\n"
        "  while True: ticks += 1; open('ticks', 'w').write(str(ticks)); time.sleep(0.001)\n"
        "threading.Thread(target=tick, daemon=True).start()\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "clone = 56 if platform.machine() == 'x86_64' else 220\n"
        "for _ in range(4):\n"
        "  if libc.syscall(clone, signal.SIGCONT, 0, 0, 0, 0) == 0:\n    while True: time.sleep(1)\n"
        "if os.fork() == 0:\n"
        "  def last():\n    while True: open('last', 'a').write('x'); time.sleep(0.001)\n"
        "  threading.Thread(target=last).start(); libc.pthread_exit(None)\n"
        "while not (ticks and os.path.exists('last')): time.sleep(0.01)"
    )
    assert (ran.result.outcome, shared.session.is_alive) == (Outcome.EXIT, True)
    files = [shared.command.files / name for name in ("ticks", "last")]
    before = [file.read_bytes() for file in files]
    time.sleep(0.1)
    assert [file.read_bytes() for file in files] == before
    assert shared.run("ticks > 0").stdout == b"True\n"


def test_a_terminal_does_not_resume_it(sandbox: Opened) -> None:
    """An interpreter with a controlling terminal ends with its program; one whose children have one goes on."""
    with warm(sandbox) as session:
        session.run("import fcntl, os, pty, signal, termios\npty.spawn(['true'])")
        assert session.session.is_alive
        ran = session.run("os.setsid(); fcntl.ioctl(os.openpty()[1], termios.TIOCSCTTY, 1)")
        assert (ran.result.outcome, session.session.is_alive) == (Outcome.EXIT, False)


def test_programs_do_not_get_the_signal_that_resumes_them(sandbox: Opened) -> None:
    """A program that handles all signals with an error does not let the following ones fail."""
    handle = (
        "import contextlib, signal\n"
        "for number in signal.valid_signals():\n"
        "    with contextlib.suppress(OSError, ValueError): signal.signal(number, lambda *_: 1 / 0)\n"
    )
    with warm(sandbox) as session:
        session.run(handle)
        for _ in range(2):
            ran = session.run("print(1)")
            assert (ran.stdout, ran.stderr) == (b"1\n", b"")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_of_multiprocessing_can_be_started_again(method: str, sandbox: Opened) -> None:
    """Programs that use them after one another get no warnings, though all processes end with each program."""
    run = (
        f"import multiprocessing\ncontext = multiprocessing.get_context({method!r})\n"
        "with context.Pool(1) as pool: print(pool.map(abs, [-1]))"
    )
    with warm(sandbox) as session:
        for _ in range(3):
            ran = session.run(run, disk_bytes=ROOM)  # files may be in messages of theirs for a moment
            assert (ran.stdout, ran.stderr, ran.result.outcome) == (b"[1]\n", b"", Outcome.EXIT)


def test_a_copy_of_the_interpreter_ends(shared: Warm) -> None:
    """A process that a program forks ends with the program, and the session is still the first one."""
    shared.run("import os\nx, me, pid = 1, os.getpid(), os.fork()")
    assert shared.run("x, me == os.getpid(), pid > 0").stdout == b"(1, True, True)\n"


def test_output_is_limited_for_each_program(shared: Warm) -> None:
    """No more is kept than a program may write; the next one has the whole of it again."""
    ran = shared.run("print('x' * 3_000_000)", output_bytes=1000)
    assert (len(ran.stdout), ran.result.truncated) == (1000, True)
    assert shared.run("print(1)", output_bytes=1000).stdout == b"1\n"


def test_what_others_write_does_not_count(sandbox: Opened, tmp_path: Path) -> None:
    """A session may have a file that cannot be seen; what others write between its programs is not taken for that."""
    with warm(sandbox) as session:
        keep = "f = open('m', 'w+b')\nf.truncate(4096)\nm = mmap.mmap(f.fileno(), 4096)\nos.remove('m')\n1"
        assert session.run(f"import mmap, os\n{keep}", disk_bytes=ROOM).stdout == b"1\n"
        for number in range(2):
            with (tmp_path / str(number)).open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, 2 * ROOM)
            ran = session.run("1", disk_bytes=ROOM)
            assert (ran.result.outcome, ran.stdout) == (Outcome.EXIT, b"1\n"), ran


def test_what_was_there_leaves_no_room_for_files_without_a_name(sandbox: Opened) -> None:
    """The files of the container are known before the first program, which may hide others at once."""
    source = HIDE + "import signal\nhide(4096)\nfor _ in range(9): hide(4 << 20)\nsignal.pause()"
    with warm(sandbox) as session:
        ran = session.run(source, new={"big": b"x" * (40 << 20)}, disk_bytes=64 << 20)
    assert ran.result.outcome is Outcome.DISK, ran.stderr


def test_a_timeout_interrupts(shared: Warm) -> None:
    """A program that takes too long gets a KeyboardInterrupt, and the variables are kept."""
    shared.run("kept = 1")
    ran = shared.run("import time\ntime.sleep(60)", seconds=0.3)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.TIMEOUT, None)
    assert b"KeyboardInterrupt" in ran.stderr
    assert shared.run("kept").stdout == b"1\n"


def test_a_timeout_waits_for_the_program(sandbox: Opened) -> None:
    """A timeout that comes while the interpreter starts, or before it begins a program, interrupts the program."""
    wait = "import signal\nwhile True: signal.pause()"
    with warm(sandbox) as session:
        for seconds in (0.001, 0.001, 0.002, 0.003):
            ran = session.run(wait, seconds=seconds)
            shown = ran.stderr.decode().splitlines()
            assert (ran.result.outcome, session.session.is_alive, shown[-1]) == (
                Outcome.TIMEOUT,
                True,
                "KeyboardInterrupt",
            )
            assert not [line for line in shown if line.startswith('  File "<string>"')]


@pytest.mark.parametrize(
    ("source", "outcome", "code"),
    [
        ("import signal, time\nsignal.signal(2, signal.SIG_IGN)\nwhile True: time.sleep(1)", Outcome.TIMEOUT, None),
        ("x = bytearray(200 << 20)", Outcome.MEMORY, None),
        ("for number in range(300): open(str(number), 'w').close()", Outcome.DISK, None),
        ("import os; os._exit(7)", Outcome.EXIT, 7),
        ("import os; os.execv('/bin/sh', ['sh', '-c', 'exit 3'])", Outcome.EXIT, 3),
        ("import os; os.kill(os.getpid(), 9)", Outcome.EXIT, 137),
    ],
)
def test_a_session_ends(source: str, outcome: Outcome, code: int | None, sandbox: Opened) -> None:
    """A program that cannot be stopped, exceeds a limit or ends the interpreter ends the session with it."""
    with warm(sandbox) as session:
        ran = session.run(source, seconds=2.0 if outcome is Outcome.TIMEOUT else 20.0)
        assert (ran.result.outcome, ran.result.exit_code) == (outcome, code), ran
        assert not session.session.is_alive


def test_no_process_is_left(sandbox: Opened) -> None:
    """The end of a session ends its interpreter, though that is stopped."""
    mark = f"mark{os.getpid()}"
    with warm(sandbox, mark) as session:
        session.run("None")
        assert processes_with(mark)
    wait_until(lambda: not processes_with(mark))


def test_attempts_through_a_session_are_refused(sandbox: Opened) -> None:
    """What an attacker tries in a sandbox has no effect in a session either."""
    attempts = {**FILES, **{name: KERNEL[name] for name in PROCESSES}}
    with tempfile.NamedTemporaryFile() as secret, warm(sandbox) as session:
        host = {
            "abstract": "berth-none",
            "addresses": [],
            "folder": str(sandbox.folder),
            "pid": os.getpid(),
            "port": 9,
            "repository": str(Path(__file__).parents[2]),
            "secret": secret.name,
            "shared_memory": "/dev/shm/berth-none",  # noqa: S108
            "socket": "/tmp/berth-none",  # noqa: S108
            "temporary": secret.name,
            "tenant": str(sandbox.command("true").files.parent),
            "variable": "BERTH_VARIABLE_OF_THE_HOST",
        }
        given = {"attempts": attempts, "host": host, "numbers": seccomp._MACHINES[platform.machine()].calls}
        ran = session.run(RUNNER, stdin=json.dumps(given))
        answers = dict(json.loads(line) for line in ran.stdout.splitlines() if line.startswith(b"["))
    assert set(answers) == set(attempts), ran
    assert {name: said for name, said in answers.items() if "LEAK" in said} == {}
