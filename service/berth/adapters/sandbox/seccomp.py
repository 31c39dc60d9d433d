"""Assembles the seccomp filter of sandboxes: a list of refused system calls, as instructions for the kernel.

The numbers are those of the kernel's tables for x86_64 and aarch64; from 424 on, all architectures share them.
"""

import errno
import struct
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple


class _Machine(NamedTuple):
    audit: int
    calls: Mapping[str, int]


_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_ALLOW, _ERROR, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NEW_NAMESPACES = 0x7E020080
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWTIME."""
_SAME_PARENT = 0x00008000
"""CLONE_PARENT hides which process has forked another one."""
_THREAD, _SAME_FILES, _UNSHARE_FILES = 0x00010000, 0x00000400, 2
"""CLONE_THREAD, CLONE_FILES and CLOSE_RANGE_UNSHARE: threads of a process share its open files."""
_FAMILIES = (1, 2, 10)
"""Sockets may be AF_UNIX, AF_INET and AF_INET6."""
_PROTOCOLS = (0, 1, 6, 17, 58)
"""Their protocols: the default, TCP, UDP, and ICMP, which the kernel refuses; for others it may load a module."""
_TYPE_BITS, _TYPES = 0xF, (1, 2, 3, 5)
"""Their types: streams, datagrams, raw ones, which the kernel refuses, and packets in order; for DCCP, the default
protocol of a type of its own, it may load a module."""
_UNIX, _STREAM, _DATAGRAM, _PACKETS = 1, 1, 2, 5
_OF_DATAGRAMS = ((2, (0, 1, 17)), (10, (0, 17, 58)))
"""The protocols of datagrams in each family. For a type of socket with a protocol of another type, the kernel starts a
program of the host, which looks for a module.
"""
_NETLINK, _LOW_HALF = 16, 0xFFFFFFFF
_BRIDGES = (0x8940, 0x8941, 0x8982, 0x8983, 0x89A0, 0x89A1, 0x89A2, 0x89A3)
"""What SIOCGIFBR, SIFBR, GIFVLAN, SIFVLAN, BRADDBR, BRDELBR, BRADDIF and BRDELIF ask any socket for: the kernel loads
the modules for bridges and virtual networks before it looks at who asks."""
_RESERVING = (0x40305828, 0x4030582A, 0x40305839, 0x4030580A, 0x4030580B, 0x40305824, 0x40305825)
"""FS_IOC_RESVSP, RESVSP64 and ZERO_RANGE, ALLOCSP, FREESP, ALLOCSP64 and FREESP64 of XFS do what fallocate does."""
_KIND_BITS, _OF_BTRFS, _CLONES = 0xFF00, 0x9400, (0x40049409, 0x4020940D, 0xC0189436)
"""Requests of btrfs make parts of a file system that a sandbox may keep from being removed, and tell of others; those
which other file systems have, too, FICLONE, FICLONERANGE and FIDEDUPERANGE, only share content of files.
"""
_REQUESTS = (0x5412, 0x541C, 0x5423, *_RESERVING, *_BRIDGES)
"""TIOCSTI and TIOCLINUX type into the terminal; TIOCSETD gives it a line discipline, such as for modems, for which the
kernel may load a module."""
_FILE_TYPE, _DEVICES = 0o170000, (0o020000, 0o060000)

_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428, "move_mount": 429,
    "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433, "clone3": 435, "close_range": 436,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442, "quotactl_fd": 443,
    "landlock_create_ruleset": 444, "memfd_secret": 447, "process_mrelease": 448,
    "statmount": 457, "listmount": 458, "setxattrat": 463, "open_tree_attr": 467,
}  # fmt: skip
_X86_64 = {
    "ioctl": 16, "shmget": 29, "shmat": 30, "shmctl": 31, "socket": 41, "socketpair": 53, "clone": 56, "semget": 64,
    "msgget": 68, "ptrace": 101, "syslog": 103, "mknod": 133, "uselib": 134, "personality": 135, "ustat": 136,
    "sysfs": 139, "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156, "adjtimex": 159,
    "chroot": 161, "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
    "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174,
    "init_module": 175, "delete_module": 176, "get_kernel_syms": 177, "query_module": 178, "quotactl": 179,
    "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227, "mbind": 237, "set_mempolicy": 238,
    "mq_open": 240, "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "migrate_pages": 256,
    "mknodat": 259, "unshare": 272, "move_pages": 279, "perf_event_open": 298, "fanotify_init": 300,
    "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
    "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "memfd_create": 319, "kexec_file_load": 320,
    "bpf": 321, "userfaultfd": 323, "fallocate": 285, "sched_setattr": 314,
    "fcntl": 72, "timer_create": 222, "io_setup": 206, "prctl": 157, "inotify_init": 253, "inotify_init1": 294,
    "sendfile": 40, "setsockopt": 54, "splice": 275, "vmsplice": 278, "setrlimit": 160, "prlimit64": 302,
    "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
}  # fmt: skip
_AARCH64 = {
    "lookup_dcookie": 18, "ioctl": 29, "mknodat": 33, "umount2": 39, "mount": 40, "pivot_root": 41, "nfsservctl": 42,
    "chroot": 51, "vhangup": 58, "quotactl": 60, "acct": 89, "personality": 92, "unshare": 97, "kexec_load": 104,
    "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
    "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "adjtimex": 171, "mq_open": 180, "msgget": 186,
    "semget": 190, "shmget": 194, "shmctl": 195, "shmat": 196, "socket": 198, "socketpair": 199, "add_key": 217,
    "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225, "mbind": 235,
    "set_mempolicy": 237, "migrate_pages": 238, "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262,
    "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
    "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "memfd_create": 279, "bpf": 280, "userfaultfd": 282,
    "kexec_file_load": 294, "fallocate": 47, "fcntl": 25, "timer_create": 107, "io_setup": 0, "prctl": 167,
    "inotify_init1": 26, "sendfile": 71, "vmsplice": 75, "splice": 76, "setsockopt": 208, "setrlimit": 164,
    "prlimit64": 261, "sched_setattr": 274, "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7,
}  # fmt: skip
_MACHINES = MappingProxyType(
    {"x86_64": _Machine(0xC000003E, _X86_64 | _COMMON), "aarch64": _Machine(0xC00000B7, _AARCH64 | _COMMON)}
)
MACHINES = tuple(_MACHINES)
"""The machines that a filter can be assembled for."""
_CONDITIONAL = frozenset(
    {"clone", "socket", "socketpair", "setsockopt", "ioctl", "mknod", "mknodat", "fcntl", "prctl", "close_range"}
    | {"setrlimit", "prlimit64"}
)
_OF_SESSIONS = frozenset({"timer_create"})
"""This call can have the kernel do something while a process is stopped: send it SIGCONT."""
_SET_SIGNAL = 10
"""F_SETSIG has a file send any signal, so sessions refuse it for the same reason."""
_SET_LEASE, _NOTIFY = 1024, 1026
"""F_SETLEASE stops others that write to a file of the host; F_NOTIFY tells what others do in a folder of the host."""
_SET_DUMPABLE, _SCHED_CORE, _SET_SUBREAPER = 4, 62, 36
"""PR_SET_DUMPABLE hides from the watch what a process has open; PR_SCHED_CORE keeps others from half of a core;
PR_SET_CHILD_SUBREAPER hides which processes have lost their parent."""
_NEW_REQUESTS = (78, 4096)
"""Requests of prctl that are newer than this list, from PR_FUTEX_HASH on: that has the kernel keep any number of bytes.

Those with large numbers, such as PR_SET_VMA, are older.
"""
_NEW_CALLS = 470
"""Where calls begin that are newer than this list; programs do without them, as on an older kernel."""
_CORE = 4
"""RLIMIT_CORE, which stays as it is: only with 1 does the kernel start no program of the host for a crash."""
_MISSING = frozenset({"clone3", "memfd_create", "memfd_secret", "shmget", "semget", "msgget", "mq_open"}) | {
    *("io_setup", "landlock_create_ruleset", "inotify_init", "inotify_init1"),
    *(name for name in _COMMON if name.startswith("io_uring")),
}
"""Programs do without these calls if the kernel seems not to have them; no watch sees the memory or files of some.

inotify tells which programs and libraries of the host others use, in other sandboxes, too. The machine has a number of
places for asynchronous I/O (io_setup), which databases of the host need, and the kernel writes for it while a process
is stopped.
"""
_KEEPING = frozenset({"sendfile", "splice", "vmsplice"})
"""These put pages of memory and of files into pipes and sockets without a copy. For one byte they keep a whole page, of
up to 2 MiB, which is in no process any more. Programs read and write instead.
"""
_ATTRIBUTES = frozenset({"setxattr", "lsetxattr", "fsetxattr", "setxattrat"})
"""With these a file has a list of who may use it. Each file in memory keeps 128 KiB of it for a list, which is counted
nowhere, and gets it from its folder when it is made. Programs do without, as where a file system has no such lists.
"""
_SOCKET_LEVEL, _FILTERS = 1, (26, 50, 51, 52)
"""SO_ATTACH_FILTER, BPF, REUSEPORT_CBPF and REUSEPORT_EBPF: the kernel keeps 140 KB for a filter, without a limit."""
_ZEROCOPY = 60
"""SO_ZEROCOPY has sockets keep pages as the calls of _KEEPING do: 2 MiB for each byte."""
_TCP_LEVEL, _CIPHERS = 6, (14, 31, 32, 38)
"""TCP_MD5SIG, ULP, MD5SIG_EXT and AO_ADD_KEY need ciphers, for which the kernel may load modules; for AO_ADD_KEY, any
that it has. The kernel of many machines knows none of them.
"""
_BUFFERS = (7, 8)
"""SO_SNDBUF and SO_RCVBUF: a socket keeps twice as much, which is not counted; with these, that can be megabytes."""
_UNSUPPORTED = frozenset({"fallocate"})
"""It takes room on a disk faster than a watch can look; programs write instead where the file system has not got it."""


@cache
def assemble(machine: str, *, is_session: bool = False) -> bytes:
    """Return the filter for a machine, as `bwrap --seccomp` takes it; sessions may be stopped, and then stay so."""
    audit, calls = _MACHINES[machine]
    if not is_session:
        calls = {name: number for name, number in calls.items() if name not in _OF_SESSIONS}
    refused = {name: number for name, number in calls.items() if name not in _CONDITIONAL}
    program = [
        _step(_LOAD, _MACHINE_AT),
        *(_step(_JUMP_EQUAL, audit, 1, 0), _step(_RETURN, _KILL)),
        _step(_LOAD, _NUMBER_AT),
        *(_step(_JUMP_AT_LEAST, _NEW_CALLS, 0, 1), _error(errno.ENOSYS)),
    ]
    for name, number in refused.items():
        program += [_step(_JUMP_EQUAL, number, 0, 1), _error(_number_of(name))]
    for name in sorted(_CONDITIONAL & calls.keys()):
        body = [*_conditions(name, is_session=is_session), _step(_RETURN, _ALLOW)]
        program += [_step(_JUMP_EQUAL, calls[name], 0, len(body)), *body]
    return b"".join([*program, _step(_RETURN, _ALLOW)])


def profile(machine: str) -> dict[str, Any]:
    """Return the list for a kernel of gVisor, as OCI has it.

    gVisor knows no other errors than EPERM, and ENOSYS for what no tracer looks at. It has the families of sockets that
    are allowed, and netlink. What it keeps for a guest counts, so the guest may do that. Attributes of files in
    /mnt/data are kept by the file system of the host, which need not count them.
    """
    names = sorted(_MACHINES[machine].calls.keys() - _CONDITIONAL - _OF_SESSIONS - _KEEPING)
    lacking = _MISSING | _UNSUPPORTED | _ATTRIBUTES
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": [name for name in names if name in lacking], "action": "SCMP_ACT_TRACE"},
            _refusal([name for name in names if name not in lacking]),
            *(_refusal(["clone"], _masked(0, bit, bit)) for bit in _bits(_NEW_NAMESPACES)),
            _refusal(["socket", "socketpair"], _masked(0, _LOW_HALF, _NETLINK)),
            *(_refusal(["ioctl"], _masked(1, _LOW_HALF, request)) for request in _REQUESTS),
            _refusal(["ioctl"], _masked(1, _KIND_BITS, _OF_BTRFS)),
            *(_refusal(["mknod"], _masked(1, _FILE_TYPE, kind)) for kind in _DEVICES),
            *(_refusal(["mknodat"], _masked(2, _FILE_TYPE, kind)) for kind in _DEVICES),
        ],
    }


def _bits(flags: int) -> Iterator[int]:
    return (1 << number for number in range(flags.bit_length()) if flags & 1 << number)


def _refusal(names: list[str], *conditions: dict[str, Any]) -> dict[str, Any]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "args": list(conditions)}


def _masked(index: int, mask: int, value: int) -> dict[str, Any]:
    return {"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"}


def _number_of(name: str) -> int:
    """Return the number of the error that a refused call fails with."""
    if name in _UNSUPPORTED | _ATTRIBUTES:
        return errno.EOPNOTSUPP
    if name in _KEEPING:
        return errno.EINVAL  # with which programs do what they do where a file system cannot
    return errno.ENOSYS if name in _MISSING else errno.EPERM


def _conditions(name: str, *, is_session: bool) -> Iterator[bytes]:
    """Yield the instructions that refuse some arguments of a call; the low halves decide, as in the kernel."""
    match name:
        case "clone":
            bits = _NEW_NAMESPACES | _SAME_PARENT
            yield from (_argument(0), _step(_JUMP_ANY_BIT, bits, 0, 1), _error(errno.EPERM))
            yield from (_step(_AND, _THREAD | _SAME_FILES), _step(_JUMP_EQUAL, _THREAD, 0, 1), _error(errno.EPERM))
        case "close_range":
            yield from (_argument(2), _step(_JUMP_ANY_BIT, _UNSHARE_FILES, 0, 1), _error(errno.EINVAL))
        case "socket" | "socketpair":
            yield from _only(0, _FAMILIES, errno.EAFNOSUPPORT)
            yield from _only(2, _PROTOCOLS, errno.EPROTONOSUPPORT)
            yield from _only(1, _TYPES, errno.EPROTONOSUPPORT, bits=_TYPE_BITS)
            yield from _pairs()
        case "setsockopt":
            yield from _options()
        case "ioctl":
            yield from _of_files()
        case "fcntl":
            requests = (_SET_LEASE, _NOTIFY, *((_SET_SIGNAL,) if is_session else ()))
            yield from _none(1, requests, errno.EPERM)
        case "prctl":
            yield from _requests()
        case "setrlimit" | "prlimit64":
            yield from _limits(name)
        case _:
            yield from (_argument(1 if name == "mknod" else 2), _step(_AND, _FILE_TYPE))
            for kind in _DEVICES:
                yield from (_step(_JUMP_EQUAL, kind, 0, 1), _error(errno.EPERM))


def _options() -> Iterator[bytes]:
    """Yield the instructions that refuse some options of sockets."""
    refused = [*_none(2, _FILTERS, errno.EPERM), *_none(2, _BUFFERS, 0)]  # which is only a hint
    refused += _none(2, (_ZEROCOPY,), errno.EOPNOTSUPP)
    yield from (_argument(1), _step(_JUMP_EQUAL, _SOCKET_LEVEL, 0, len(refused)), *refused)
    refused = [*_none(2, _CIPHERS, errno.ENOPROTOOPT)]
    yield from (_argument(1), _step(_JUMP_EQUAL, _TCP_LEVEL, 0, len(refused)), *refused)


def _of_files() -> Iterator[bytes]:
    """Yield the instructions that refuse some requests of ioctl."""
    yield from _none(1, _REQUESTS, errno.EPERM)
    refused = [_step(_AND, _KIND_BITS), _step(_JUMP_EQUAL, _OF_BTRFS, 0, 1), _error(errno.EPERM)]
    for left, request in zip(range(len(_CLONES) - 1, -1, -1), _CLONES, strict=True):
        yield _step(_JUMP_EQUAL, request, left + len(refused), 0)
    yield from refused


def _pairs() -> Iterator[bytes]:
    """Yield the instructions that refuse a type of sockets of the internet with a protocol of another type."""
    packets = (_step(_JUMP_EQUAL, _PACKETS, 0, 1), _error(errno.EPROTOTYPE))
    streams = tuple(_only(2, (0, 6), errno.EPROTOTYPE))
    datagrams: list[bytes] = []
    for family, protocols in _OF_DATAGRAMS:
        allowed = tuple(_only(2, protocols, errno.EPROTOTYPE))
        datagrams += [_argument(0), _step(_JUMP_EQUAL, family, 0, len(allowed)), *allowed]
    kind = (_argument(1), _step(_AND, _TYPE_BITS))
    body = [*kind, *packets, _step(_JUMP_EQUAL, _STREAM, 0, len(streams)), *streams]
    body += [*kind, _step(_JUMP_EQUAL, _DATAGRAM, 0, len(datagrams)), *datagrams]
    yield from (_argument(0), _step(_JUMP_EQUAL, _UNIX, len(body), 0), *body)


def _requests() -> Iterator[bytes]:
    """Yield the instructions that refuse some requests of prctl."""
    yield from _none(0, (_SET_DUMPABLE,), 0)  # it succeeds, and does nothing: some programs end if it fails
    for request in (_SCHED_CORE, _SET_SUBREAPER):
        yield from (_step(_JUMP_EQUAL, request, 0, 1), _error(errno.EINVAL))
    first, end = _NEW_REQUESTS
    yield from (_step(_JUMP_AT_LEAST, end, 2, 0), _step(_JUMP_AT_LEAST, first, 0, 1), _error(errno.EINVAL))


def _limits(name: str) -> Iterator[bytes]:
    """Yield the instructions that keep a limit; setting it does nothing, and fails if its old value is asked for."""
    if name == "setrlimit":
        yield from _none(0, (_CORE,), 0)
        return
    has_old = (_argument(3), _step(_JUMP_EQUAL, 0, 1, 0), _error(errno.EPERM), _error(0))
    has_new = (*_is_null(2, len(has_old)), *has_old)
    yield from (_argument(1), _step(_JUMP_EQUAL, _CORE, 0, len(has_new)), *has_new)


def _only(index: int, values: Sequence[int], number: int, *, bits: int = _LOW_HALF) -> Iterator[bytes]:
    """Yield the instructions that refuse all values of some bits of an argument but a few, with an error."""
    yield from (_argument(index), _step(_AND, bits))
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        yield _step(_JUMP_EQUAL, value, left, 0)
    yield _error(number)


def _none(index: int, values: Sequence[int], number: int) -> Iterator[bytes]:
    """Yield the instructions that refuse some values of an argument, with an error."""
    yield _argument(index)
    for value in values:
        yield from (_step(_JUMP_EQUAL, value, 0, 1), _error(number))


def _is_null(index: int, otherwise: int) -> Iterator[bytes]:
    """Yield the instructions that skip `otherwise` more of them if an argument, which is a pointer, is null."""
    yield from (_argument(index), _step(_JUMP_EQUAL, 0, 0, 2))
    yield from (_step(_LOAD, _ARGUMENTS_AT + 8 * index + 4), _step(_JUMP_EQUAL, 0, otherwise, 0))


def _argument(index: int) -> bytes:
    return _step(_LOAD, _ARGUMENTS_AT + 8 * index)


def _error(number: int) -> bytes:
    return _step(_RETURN, _ERROR | number)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
