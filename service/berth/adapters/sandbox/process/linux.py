"""Calls of Linux that Python's standard library lacks."""

import ctypes
import os
import platform
import signal
from collections.abc import Iterator
from contextlib import suppress

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_SIGKILL = 9
_CLONE_NEWNS = 0x00020000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18

_SETATTR = {"x86_64": 314, "aarch64": 274}
_MRELEASE = 448
_PAGE = os.sysconf("SC_PAGE_SIZE")
_KILLS = 20
"""How often is looked for processes that were started before their parents were killed."""
_RESET_ON_FORK = 0x01
_STEP_BACK = 4
"""How much nicer than Berth a supervisor is."""
NICER = 11
"""How much nicer than a supervisor a command is: a twenty-eighth is what it gets if both want to run."""
_SHORTEST_TURN = 100_000
"""In nanoseconds, as short as the kernel allows."""
_SHARE_OF_COMMANDS = b"10"
"""How much nicer a session of a command is: it gets a tenth of what Berth gets."""

_libc = ctypes.CDLL(None, use_errno=True)


class _Schedule(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when `parent`, its parent, dies."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL))
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of all descendants that lose theirs, to be able to wait for them."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1))


def wake_soon(process: int, *, is_inherited: bool) -> None:
    """Have the kernel run a process soon when it has something to do, however many others wait for a processor.

    It gets the shortest turns there are, and the kernel prefers those that want little; that takes Linux 6.12, and
    changes nothing before. Its share of the processor stays what it was. Without `is_inherited`, what it starts is as
    usual.
    """
    with suppress(OSError):  # it has ended, or a filter refuses it
        nice = os.getpriority(os.PRIO_PROCESS, process)
        schedule = _Schedule(nice=nice, runtime=_SHORTEST_TURN, flags=0 if is_inherited else _RESET_ON_FORK)
        schedule.size = ctypes.sizeof(schedule)
        _check(_libc.syscall(_SETATTR.get(platform.machine(), -1), process, ctypes.byref(schedule), 0))


def put_last(thread: int) -> bool:
    """Have a thread, and all that it starts, run when nothing else wants to; return whether that was not so yet.

    There is no way back for a command. A flag that it may have set itself stays: only root could take it back.
    """
    with suppress(ProcessLookupError, PermissionError):  # it has ended
        policy = os.sched_getscheduler(thread)
        flag = policy & os.SCHED_RESET_ON_FORK
        if policy != os.SCHED_IDLE | flag:
            os.sched_setscheduler(thread, os.SCHED_IDLE | flag, os.sched_param(0))
            return True
    return False


def share_less(process: int) -> bool:
    """Give the session of a process a smaller share of the processor, where the kernel shares it among sessions.

    Return False if that has to be tried again: the kernel allows it ten times a second on the whole machine, except for
    root. PermissionError if the process runs a program that it may not read, as long as it does.
    """
    with suppress(FileNotFoundError, ProcessLookupError):
        file = os.open(f"/proc/{process}/autogroup", os.O_RDWR | os.O_CLOEXEC)
        try:
            if not os.read(file, 100).endswith(b" nice %s\n" % _SHARE_OF_COMMANDS):
                os.write(file, _SHARE_OF_COMMANDS)
        except BlockingIOError:
            return False
        finally:
            os.close(file)
    return True


def is_alive(thread: int) -> bool:
    """Return whether a thread has memory; one that has ended has none, also as long as nothing has waited for it."""
    with suppress(FileNotFoundError, ProcessLookupError), open(f"/proc/{thread}/statm", "rb") as file:
        return not file.read().startswith(b"0 ")
    return False


def session(process: int) -> int | None:
    """Return the session of a process, None if it has ended."""
    with suppress(ProcessLookupError):
        return os.getsid(process)
    return None


def end_all(first: int, handle: int, large: int) -> None:
    """Kill a process and all that it started, and free the memory of those that have more than `large`.

    The kernel kills the rest of a namespace only once its first process has given back its memory; for that it may have
    to wait for others, which run as long as they are not killed. They would free theirs themselves, as soon as they
    have a processor, for which they may wait long. All have to be in the namespace of the first one: another process
    might have got the number of one that has ended. The open `handle` of the first one tells whether it still has its
    own.
    """
    with suppress(OSError):
        namespace = os.stat(f"/proc/{first}/ns/pid")
        signal.pidfd_send_signal(handle, 0)
        killed: set[int] = set()
        for _ in range(_KILLS):
            if not (new := [process for process in descendants(first) if process not in killed]):
                break
            killed.update(new)
            for process in new:
                _end(process, namespace)
        for process in killed:
            with suppress(OSError):
                if _resident(process) > large:
                    _end(process, namespace, free=True)


def _resident(process: int) -> int:
    with open(f"/proc/{process}/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE


def _end(process: int, namespace: os.stat_result, *, free: bool = False) -> None:
    with suppress(OSError):
        handle = os.pidfd_open(process)
        try:
            if not os.path.samestat(os.stat(f"/proc/{process}/ns/pid"), namespace):
                return
            signal.pidfd_send_signal(handle, signal.SIGKILL)
            if free:
                _libc.syscall(_MRELEASE, handle, 0)  # it came with Linux 5.15
        finally:
            os.close(handle)


def step_back() -> None:
    """Get a share of the processor of this process's own, a little smaller than that of the one that started it.

    Where the kernel shares the processor among sessions (autogroup), supervisors do not divide the share of Berth then.
    Since it is smaller, Berth starts all that was asked for at the same time before the first one is far ahead.
    """
    os.setsid()
    os.nice(_STEP_BACK)
    # A codec that Python has not loaded yet, such as that of ASCII, would be read from the disk by each supervisor.
    with suppress(OSError), open("/proc/self/autogroup", "w", encoding="utf-8") as file:
        file.write(str(_STEP_BACK))


def descendants(process: int) -> Iterator[int]:
    """Yield a process, all that it started, and what these started; only itself if the kernel has no such lists."""
    left = [process]
    while left:
        yield (parent := left.pop())
        for thread in threads(parent):
            with suppress(FileNotFoundError, ProcessLookupError):
                left += _listed_children(parent, thread)


def threads(process: int) -> list[int]:
    """Return the threads of a process, none if it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return [int(name) for name in os.listdir(f"/proc/{process}/task")]
    return []


def children(process: int) -> list[int]:
    """Return the children of the first thread of a process, also those that have ended."""
    try:
        return _listed_children(process, process)
    except ProcessLookupError:
        return []
    except FileNotFoundError:  # it has ended, or the kernel was built without this list
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and _parent(name) == process]


def _listed_children(process: int, thread: int) -> list[int]:
    with open(f"/proc/{process}/task/{thread}/children", "rb") as file:
        return [int(child) for child in file.read().split()]


def _parent(process: str) -> int | None:
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def unshare_mounts() -> None:
    """Continue with mounts of this process's own, which no other process sees."""
    _check(_libc.unshare(_CLONE_NEWNS))
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))


def join_namespace(descriptor: int) -> None:
    """Enter the namespace that the descriptor refers to."""
    _check(_libc.setns(descriptor, 0))


def mount_tmpfs(target: str, options: str) -> None:
    """Mount an empty file system in memory."""
    flags = ctypes.c_ulong(_MS_NOSUID | _MS_NODEV)
    _check(_libc.mount(b"tmpfs", os.fsencode(target), b"tmpfs", flags, options.encode()))


def bind(source: str, target: str) -> None:
    """Have `target` show `source`."""
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(_MS_BIND), None))


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
