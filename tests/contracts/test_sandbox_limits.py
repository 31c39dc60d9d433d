"""What a command may use: memory, processes, time, disk and output, however it is asked for."""

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from berth.core.exec.sandbox import Outcome
from berth.launch.private_folder import short_path
from support.clients.polling import wait_until
from support.measuring.processes import processes_with
from support.sandboxes.excesses import COPIED, DISK, FILL, FOLDERS, IN_THE_KERNEL, LOCKED, MEMORY, OPEN_FOLDER
from support.sandboxes.opened import Opened

WAIT = "\nimport time; time.sleep(20)"
SOON_SECONDS = 10.0
"""An idle machine takes less than one; what is not ended goes on for twenty at least."""
IGNORE = "import signal\nfor n in set(range(1, 65)) - {9, 19, 32, 33}: signal.signal(n, signal.SIG_IGN)\n"


@pytest.mark.parametrize("how", MEMORY)
def test_memory_is_limited(how: str, sandbox: Opened) -> None:
    """The command ends soon after all its processes together have more memory than they may."""
    ran = sandbox.python("import time\n" + MEMORY[how] + WAIT)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.MEMORY, None), ran


@pytest.mark.parametrize("how", IN_THE_KERNEL)
def test_what_the_kernel_keeps_is_limited(how: str, sandbox: Opened) -> None:
    """The command ends soon after the kernel keeps more for it than it may, which is in the memory of no process."""
    if sandbox.kind != "overlay":
        pytest.skip(
            "tried once, with an overlay: copies are no different, and gVisor keeps it in the guest, where it counts"
        )
    # A busy machine has two looks far apart, and what others write counts while files are hidden.
    source = FILL + IN_THE_KERNEL[how] + "\ntime.sleep(60)"
    ran = sandbox.python(source, seconds=60.0, disk_bytes=1 << 40)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.MEMORY, None), ran


def test_a_connection_keeps_little_that_is_not_read(sandbox: Opened) -> None:
    """What is sent byte by byte takes much more memory than can be counted, so each connection has little of it."""
    if sandbox.runs_guest:
        pytest.skip("under gVisor connections are kept by the kernel of the guest")
    if os.statvfs("/proc/sys").f_flag & os.ST_RDONLY:
        pytest.skip("/proc/sys is read-only here, so Berth cannot set what the kernel keeps for a connection")
    ran = sandbox.python("print(open('/proc/sys/net/ipv4/tcp_rmem').read().split())")
    assert ran.stdout == b"['4096', '131072', '212992']\n"


def test_what_is_sent_beside_a_proxy_is_limited(sandbox: Opened) -> None:
    """With a way to the network, sockets of a guest are those of the host, and what they hold counts, too."""
    source = FILL + IN_THE_KERNEL["what is sent over TCP and not read"] + "\ntime.sleep(60)"
    command = sandbox.command("python3", "-c", source, seconds=60.0)
    proxy = command.files.parent / "proxy"
    with socket.socket(socket.AF_UNIX) as listener, short_path(proxy) as path:
        listener.bind(path)
        listener.listen()
        ran = sandbox.wait(sandbox.ran(replace(command, proxy=proxy)))
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.MEMORY, None), ran


def test_no_thread_has_open_files_of_its_own(sandbox: Opened) -> None:
    """The kernel makes neither a new thread like that, nor one of a thread that is there."""
    if sandbox.runs_guest:
        pytest.skip(
            "under gVisor a program cannot use up what the kernel of the host keeps: it has a kernel of its own"
        )
    source = (
        "import ctypes, platform\ncall = ctypes.CDLL(None, use_errno=True).syscall\n"
        "clone = 56 if platform.machine() == 'x86_64' else 220\n"
        "print(call(clone, 0x10900, 0, 0, 0, 0), ctypes.get_errno(), call(436, 900, 901, 2), ctypes.get_errno())"
    )
    assert sandbox.python(source).stdout == b"-1 1 -1 22\n"


def test_a_process_has_the_parent_that_forked_it(sandbox: Opened) -> None:
    """It is neither that of its parent nor another one than the first of the sandbox: by that forks are counted."""
    if sandbox.runs_guest:
        pytest.skip("under gVisor the kernel of the guest keeps what forks need, and its memory counts")
    source = (
        "import ctypes, platform\ncall = ctypes.CDLL(None, use_errno=True)\n"
        "clone = 56 if platform.machine() == 'x86_64' else 220\n"
        "print(call.syscall(clone, 0x8011, 0, 0, 0, 0), ctypes.get_errno(), call.prctl(36, 1), ctypes.get_errno())"
    )
    assert sandbox.python(source).stdout == b"-1 1 -1 22\n"


def test_the_kernel_looks_for_no_module_of_a_socket(sandbox: Opened) -> None:
    """A type with a protocol of another one is refused before the kernel starts a program to find it; others work."""
    if sandbox.runs_guest:
        pytest.skip("under gVisor sockets are those of the guest, which has no modules")
    source = (
        "import errno, itertools, socket\ndef fails(*which):\n"
        "  try: socket.socket(*which)\n  except OSError as error: return error.errno\n"
        "for which in itertools.product((1, 2, 10), (1, 2, 5 | socket.SOCK_CLOEXEC), (0, 1, 6, 17, 58)):\n"
        "  if fails(*which) == errno.EPROTOTYPE: print(which[0], which[1] & 15, which[2])"
    )
    allowed = {(2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 1), (2, 2, 17), (10, 1, 0), (10, 1, 6), (10, 2, 0)}
    allowed |= {(10, 2, 17), (10, 2, 58)}
    refused = {tuple(map(int, line.split())) for line in sandbox.python(source).stdout.splitlines()}
    assert refused == set(itertools.product((2, 10), (1, 2, 5), (0, 1, 6, 17, 58))) - allowed


def test_many_processes_of_one_parent_run(sandbox: Opened) -> None:
    """A pool of 20 with 1000 mappings each is no attack, nor are processes that outlive who forked them."""
    # The processes sleep so that the watch looks at them, first after 40 ms, and again when some are orphans.
    source = (
        "import mmap, os, time; kept = [mmap.mmap(-1, 4096, prot=1 + 2 * (n % 2), flags=0x22) for n in range(1000)]\n"
        "if os.fork() == 0:\n"
        "  for _ in range(20):\n    if os.fork() == 0: time.sleep(0.8); os._exit(0)\n"
        "  time.sleep(0.4); os._exit(0)\n"
        "time.sleep(1.2); print('ran')"
    )
    assert sandbox.python(source, memory_bytes=512 << 20).stdout == b"ran\n"


def test_servers_and_clients_in_a_sandbox_run(sandbox: Opened) -> None:
    """Many connections, registrations and terminals that are no attack do not end a command."""
    source = (
        "import asyncio, os\nasync def answer(reader, writer): writer.write(await reader.read(9)); writer.close()\n"
        "async def main():\n"
        "  server = await asyncio.start_server(answer, '127.0.0.1', 0); at = server.sockets[0].getsockname()\n"
        "  ends = await asyncio.gather(*[asyncio.open_connection(*at) for _ in range(200)])\n"
        "  kept = [os.openpty() for _ in range(20)]; await asyncio.sleep(1.2)\n"
        "  for _, writer in ends: writer.write(b'x')\n"
        "  print(len(await asyncio.gather(*[reader.read() for reader, _ in ends])))\n"
        "asyncio.run(main())"
    )
    assert sandbox.python(source).stdout == b"200\n"


def test_locks_on_files_are_limited(sandbox: Opened) -> None:
    """A command with 12 000 locks ends: the kernel's memory for them is counted nowhere."""
    if sandbox.runs_guest:
        pytest.skip("under gVisor locks are kept by the kernel of the guest, and its memory counts")
    source = (
        "import fcntl, time; files = [open(f'/tmp/{number}', 'wb') for number in range(500)]\n"
        "for at in range(48, 0, -2):\n  for file in files: fcntl.lockf(file, 2, 1, at)"
    )
    assert sandbox.python(source + WAIT).result.outcome == Outcome.MEMORY


def test_sessions_are_limited(sandbox: Opened) -> None:
    """A command ends with 20 of them, or if some are always too new to have a small share; 10 do no harm."""
    if sandbox.runs_guest:
        pytest.skip("under gVisor sessions are kept by the kernel of the guest")
    source = "import os, signal, time\nfor _ in range({}):\n  if os.fork() == 0: os.setsid(); break\n"
    seen = "else: [os.wait() for _ in range(10)] and os._exit(0)\n"
    seen += "while 'nice 10' not in open('/proc/self/autogroup').read(): pass"
    assert sandbox.python(source.format(10) + seen, seconds=20).result.outcome == Outcome.EXIT
    assert sandbox.python(source.format(20) + WAIT).result.outcome == Outcome.MEMORY
    again = (
        "else: signal.pause()\nwhile True:\n  if os.fork(): os._exit(0)\n"
        "  os.setsid(); until = time.monotonic() + 0.05\n  while time.monotonic() < until: pass"
    )
    assert sandbox.python(source.format(7) + again).result.outcome == Outcome.MEMORY


def test_signals_that_wait_are_limited(sandbox: Opened) -> None:
    """A command has 1024 of them: without a limit, those of others who have the same user outside were used up."""
    if sandbox.runs_guest:
        pytest.skip("under gVisor signals are kept by the kernel of the guest")
    source = (
        "import ctypes, os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {40})\n"
        "send = ctypes.CDLL(None).sigqueue\n"
        "print(sum(send(os.getpid(), 40, ctypes.c_void_p(0)) == 0 for _ in range(5000)))"
    )
    assert int(sandbox.python(source).stdout) <= 1024


@pytest.mark.parametrize("folder", ["/tmp", "/dev/shm"])  # noqa: S108 - of the sandbox
def test_a_file_system_in_memory_is_limited(folder: str, sandbox: Opened) -> None:
    """Neither of them takes more than the memory of the command, by the kernel or by the watch."""
    ran = sandbox.python(f"for number in range(40): open(f'{folder}/{{number}}', 'wb').write(bytes(4 << 20))" + WAIT)
    assert ran.result.outcome == Outcome.MEMORY or b"No space left on device" in ran.stderr


def test_pages_that_processes_share_count_once(sandbox: Opened) -> None:
    """Processes with the same 30 MiB, which none of them changes, do not exceed the limit together, nor as they end."""
    for milliseconds in (500, *range(50, 100, 10)):
        forks = f"for _ in range(3): os.fork()\ntime.sleep({milliseconds / 1000})"
        ran = sandbox.python(f"x = bytearray(30 << 20)\nimport os, time\n{forks}")
        assert (ran.result.outcome, ran.result.exit_code) == (Outcome.EXIT, 0), ran


@pytest.mark.parametrize("how", DISK)
def test_disk_is_limited(how: str, sandbox: Opened) -> None:
    """The command ends soon after its folder has more bytes or entries than it may."""
    if how == COPIED and not sandbox.runs_guest:
        pytest.skip("sendfile is refused, which is one of the attempts; a guest has it")
    if how == LOCKED and sandbox.runs_guest:
        pytest.skip("this is about locks of the host; a guest has those of its own, and no call waits for one outside")
    ran = sandbox.python(DISK[how] + WAIT)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.DISK, None), ran
    assert sum(map(len, ran.changed.values())) <= 8 << 20


def test_files_with_and_without_a_name_count_together(sandbox: Opened) -> None:
    """Files that only exist mapped share one limit with those in the folder, which may be sparse."""
    source = (
        "import os\nwith open('n', 'wb') as f: f.write(bytes(60 << 20))\nkept = []\nfor _ in range(14):\n"
        "  f = open('f', 'w+b'); f.write(bytes(4 << 20)); f.flush(); os.unlink('f')\n"
        "  kept.append(MAP(f.fileno())); f.close()\n"
    )
    mapped = (
        "import ctypes; libc = ctypes.CDLL(None); libc.mmap.argtypes = [ctypes.c_void_p, *[ctypes.c_size_t] * 5]\n"
        "MAP = lambda number: libc.mmap(None, 4096, 1, 1, number, 0)\n"
    )
    ran = sandbox.python(mapped + source + WAIT, disk_bytes=64 << 20)
    assert ran.result.outcome is Outcome.DISK, ran.stderr
    sparse = source.replace("f.write(bytes(60 << 20))", "f.truncate(60 << 20)").replace("range(14)", "range(28)")
    ran = sandbox.python(mapped + sparse + WAIT, disk_bytes=64 << 20)
    assert ran.result.outcome is Outcome.DISK, ran.stderr


@pytest.mark.parametrize("beside", ["", OPEN_FOLDER], ids=["with a name", "without a name"])
def test_the_room_of_folders_counts(beside: str, sandbox: Opened) -> None:
    """Folders that had many entries keep their room, with a name or open without one, and it is limited."""
    if beside and sandbox.runs_guest:
        pytest.skip("under gVisor folders without a name are removed at once")
    ran = sandbox.python(FOLDERS + beside + WAIT, entries=3000)
    if ran.stdout == b"none\n":
        pytest.skip("this file system has no room for entries in folders")
    assert ran.result.outcome == Outcome.DISK, ran


def test_a_command_that_ends_above_the_limit_has_exceeded_it(sandbox: Opened) -> None:
    """What is written just before the end counts, too."""
    ran = sandbox.python("for number in range(300): open(str(number), 'w').close()")
    assert ran.result.outcome == Outcome.DISK


def test_what_was_there_before_does_not_count(sandbox: Opened) -> None:
    """More files and folders than a command may write may be there, but not be changed."""
    files = {f"{number}/{name}": b"x" * 200_000 for number in range(10) for name in "ab"}
    given = {"files": files, "entries": 12, "disk_bytes": 1_000_000}
    ran = sandbox.run("sh", "-c", "echo x >> 0/a; rm 1/a; echo n > n", **given)
    assert ran.result.outcome is Outcome.EXIT, ran
    assert (set(ran.changed), ran.deleted, ran.skipped) == ({"0/a", "n"}, {"1/a"}, {})
    assert sandbox.run("sh", "-c", "for f in */a; do echo x >> $f; done", **given).result.outcome is Outcome.DISK


def test_what_is_removed_does_not_count(sandbox: Opened) -> None:
    """More files than a command may write may be removed and renamed, beside as many new ones as it may write."""
    files = {f"{name}{number}": b"x" for number in range(15) for name in "az"}
    ran = sandbox.run(
        "sh", "-c", "mkdir d; for f in a*; do mv $f d/$f; done; rm *; echo n > n", files=files, entries=17
    )
    assert ran.result.outcome is Outcome.EXIT, ran
    assert (set(ran.changed), ran.skipped) == ({"n", *(f"d/a{number}" for number in range(15))}, {})
    assert ran.deleted == {"kept.txt", *files}
    ran = sandbox.run("sh", "-c", "rm *; for f in $(seq 18); do echo > $f; done", files=files, entries=17)
    assert ran.result.outcome is Outcome.DISK


def test_room_on_the_disk_is_not_taken_in_an_instant(sandbox: Opened) -> None:
    """No call takes room without writing, which a watch would see too late; programs write instead."""
    allocate = "os.write(f, bytes(4096))" if sandbox.runs_guest else "os.posix_fallocate(f, 0, 4096)"
    source = (
        f"import fcntl, os, struct\nf = os.open('f', os.O_CREAT | os.O_RDWR)\n{allocate}\n"
        "try: fcntl.ioctl(f, 0x4030582A, struct.pack('hhqqi4i', 0, 0, 0, 1 << 20, 0, 0, 0, 0, 0))\n"
        "except OSError as e: print(e.errno)\n"
        "import ctypes; print(ctypes.CDLL(None, use_errno=True).fallocate(f, 0, 0, 1 << 20), os.fstat(f).st_size)"
    )
    assert sandbox.python(source).stdout == b"1\n-1 4096\n"


def test_what_cannot_be_watched_in_time_is_too_much(sandbox: Opened) -> None:
    """Mappings that take long to read do not keep a command from ending at its timeout."""
    source = (
        "import ctypes, os, time\nlibc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]\n"
        "at = libc.mmap(None, 1 << 27, 0, 0x22, -1, 0)\n"
        "for page in range(0, 1 << 27, 8192): libc.mprotect(at + page, 4096, 1)\n"
        "for _ in range(20):\n  if os.fork() == 0: break\n"
        "while True: libc.mmap(None, 4096, 0, 0x22, -1, 0); time.sleep(0.01)"
    )
    ran = sandbox.python(source, seconds=2.0, memory_bytes=1 << 30)
    assert ran.result.outcome in {Outcome.MEMORY, Outcome.TIMEOUT}
    assert ran.result.seconds < 2 + SOON_SECONDS


def test_a_sparse_file_cannot_be_huge(sandbox: Opened) -> None:
    """A file of a tebibyte without content is refused by the kernel."""
    ran = sandbox.python(
        "import os\ntry: os.truncate(os.open('f', os.O_CREAT | os.O_RDWR), 1 << 40)\nexcept OSError as e: print(e)"
    )
    assert ran.stdout == b"[Errno 27] File too large\n"


def test_as_many_processes_as_allowed_are_no_excess(sandbox: Opened) -> None:
    """Looking at hundreds of processes that wait is done in time, also if each has the files of a kernel open."""
    source = (
        "import os, signal\nfor number in range(240):\n if os.fork() == 0: signal.pause()\n"
        "print('all', flush=True); signal.pause()"
    )
    seconds = 10.0 if sandbox.runs_guest else 2.0
    ran = sandbox.python(source, seconds=seconds, processes=256, memory_bytes=8 << 30)
    assert (ran.stdout, ran.result.outcome) == (b"all\n", Outcome.TIMEOUT), ran


def test_a_bomb_of_processes_does_no_harm(sandbox: Opened) -> None:
    """The kernel refuses more processes than the limit; other sandboxes are not concerned."""
    source = (
        "import os, time\nnumber = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(20)\n    number += 1\n"
        "except OSError as error: print(number, error.errno)"
    )
    number, error = sandbox.python(source, memory_bytes=512 << 20).stdout.split()  # a guest has its own besides
    assert 16 <= int(number) < 24
    assert int(error) == 11


def test_processor_time_is_limited(sandbox: Opened) -> None:
    """A process that computes for longer than it may gets a signal."""
    assert sandbox.python("while True: pass", cpu_seconds=1).result.exit_code == 128 + signal.SIGXCPU


@pytest.mark.parametrize(
    "source",
    [
        IGNORE + "while True: time.sleep(1)",
        IGNORE + "import os\nfor _ in range(8):\n  if os.fork() == 0: os.setsid(); break\nwhile True: time.sleep(1)",
        "import os\nos.kill(os.getpid(), 19)",
        "import os\nfor fd in (0, 1, 2): os.close(fd)\ntime.sleep(60)",
    ],
    ids=["ignores signals", "many sessions", "stops itself", "closes its streams"],
)
def test_everything_is_gone_soon_after_the_timeout(source: str, sandbox: Opened) -> None:
    """Neither ignored signals nor new sessions help a process to live longer."""
    begun = time.monotonic()
    ran = sandbox.python("import time\n" + source, seconds=0.7)
    assert (ran.result.outcome, ran.result.exit_code) == (Outcome.TIMEOUT, None)
    assert ran.result.seconds < 0.7 + SOON_SECONDS
    assert time.monotonic() - begun < 0.7 + 2 * SOON_SECONDS


def test_a_daemon_does_not_outlive_its_command(sandbox: Opened) -> None:
    """What a command leaves running ends with it."""
    ran = sandbox.python("import os, time\nif os.fork() == 0: os.setsid(); time.sleep(20); open('late', 'w')")
    assert (ran.result.exit_code, ran.changed) == (0, {})
    assert ran.result.seconds < SOON_SECONDS


def test_a_signal_to_all_reaches_only_the_sandbox(sandbox: Opened) -> None:
    """A command that kills all that it can see kills itself, and neither the watch nor this test."""
    assert sandbox.python("import os; os.kill(-1, 9); time.sleep(20)").result.outcome == Outcome.EXIT


def test_a_flood_of_output_is_cut_and_does_not_block(sandbox: Opened) -> None:
    """The command writes to its end; the first bytes are kept, both streams together."""
    source = "import os\nfor _ in range(400):\n  for fd in (1, 2): os.write(fd, b'x' * 65536)\nopen('done', 'w')"
    ran = sandbox.python(source, output_bytes=100_000)
    assert (ran.result.exit_code, ran.result.truncated) == (0, True)
    assert len(ran.stdout) + len(ran.stderr) == 100_000
    assert "done" in ran.changed


def test_an_endless_flood_ends_at_the_timeout(sandbox: Opened) -> None:
    """A command that only writes does not keep the watch from ending it."""
    ran = sandbox.run("yes", seconds=0.7)
    assert ran.result.outcome == Outcome.TIMEOUT
    assert ran.result.seconds < 0.7 + SOON_SECONDS


def test_nothing_survives_a_killed_berth(sandbox: Opened) -> None:
    """Soon after SIGKILL of the process that started it, no process of a sandbox is left."""
    mark = os.urandom(8).hex()
    berth = subprocess.Popen(
        [sys.executable, "-c", _BERTH, str(sandbox.folder), mark, sandbox.kind],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with berth:
        assert berth.stdout is not None
        assert berth.stdout.readline() == b"runs\n"
        assert set(processes_with(mark)) - {berth.pid}
        berth.kill()
    wait_until(lambda: not processes_with(mark), seconds=SOON_SECONDS)


_BERTH = """
import asyncio, sys
from pathlib import Path
from support.sandboxes.opened import Opened, driver
async def main(folder, mark, kind):
    sandbox = driver(kind, folder)
    command = Opened(sandbox, folder, None).command("sh", "-c", f"echo; sleep 61 & sleep 62; : {mark}", mark=mark)
    async with sandbox.run(command) as run:
        await anext(aiter(run.output()))
        print("runs", flush=True)
        await asyncio.sleep(60)
asyncio.run(main(Path(sys.argv[1]), *sys.argv[2:]))
"""
