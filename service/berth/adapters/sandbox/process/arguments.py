"""Says in the options of bwrap what a sandbox sees: programs and libraries of the system, a Python, its files."""

import os
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from berth.adapters.sandbox.process import guest
from berth.adapters.sandbox.process.guest import USER
from berth.adapters.sandbox.process.rlimits import OF_THE_HOST, rlimits

_ETC = {
    "passwd": "user:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "group": "user:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_SYSTEM = ("/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec")
_SHARED = ("ca-certificates", "fontconfig", "fonts", "misc", "perl", "perl5", "terminfo", "zoneinfo")
_OLD_FOLDERS = ("/bin", "/lib", "/lib32", "/lib64", "/sbin")
_SETTINGS = (
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs",
)
_LIBRARIES, _PACKAGES = ("/usr/lib", "/usr/lib64"), ("dist-packages", "site-packages")
_OF_NODE = "/usr/lib/node_modules"
"""What was installed on the host for the host: nothing of it is part of a sandbox."""
_READ_ONLY = ("/proc/sys", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi")
_MASKED = (
    "/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/kallsyms", "/proc/timer_list", "/proc/sched_debug",
    "/proc/sysrq-trigger", "/proc/latency_stats", "/proc/modules", "/proc/iomem", "/proc/ioports", "/proc/vmallocinfo",
    "/proc/cmdline", "/proc/bootconfig",  # addresses and secrets of the host may be in these
)  # fmt: skip
RECEIVED, _RECEIVED_BYTES = "/proc/sys/net/ipv4/tcp_rmem", b"4096 131072 212992"
"""How much a TCP connection may keep that was not read: the least, the first and the most; else 6 MiB or more.

What is sent byte by byte takes 30 times as much of it as the lists of connections say. All of the host share one amount
of memory for TCP, and who exceeds it cannot receive any more.
"""


class Layout:
    """What a supervisor knows of the sandbox that it starts."""

    def __init__(self, spec: dict[str, Any], path: Callable[[str], str], own: dict[str, str]) -> None:
        self.spec = spec
        self.path = path
        self.own = own
        self.runs_guest = spec["guest"] is not None
        self.processes = process_limit(spec)

    def command(self, channels: list[int]) -> list[str]:
        """Return what bwrap starts; `channels` are descriptors that are added to its arguments."""
        if self.runs_guest:
            return guest.command(self.spec, channels)
        return [*self.spec["argv"], *map(str, channels)]

    def rlimits(self) -> dict[str, tuple[int, int]]:
        """Return the limits of bwrap and what it starts; those of a guest are for its own kernel to apply."""
        return OF_THE_HOST if self.runs_guest else rlimits(self.spec["limits"])


def process_limit(spec: dict[str, Any]) -> int:
    """Return how many processes and threads of the host a sandbox may have; its first process counts."""
    processes: int = spec["limits"]["processes"]
    return processes + 1 if spec["guest"] is None else guest.host_limit(processes)


def arguments(layout: Layout, keep: Callable[[bytes], int]) -> list[str]:
    """Return the options for bwrap. `keep` makes an open file of some bytes, and returns its descriptor."""
    spec = layout.spec
    found = [*_isolation(spec, keep), *_system(spec), *_etc(keep), *_python(layout), *_memory(spec), *_files(layout)]
    found += guest.options(spec, layout.path, keep) if layout.runs_guest else _command(spec, keep)
    return [*found, "--remount-ro", "/"]


def _isolation(spec: dict[str, Any], keep: Callable[[bytes], int]) -> Iterator[str]:
    yield from ("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts")
    yield from ("--unshare-cgroup-try", "--die-with-parent", "--new-session", "--hostname", "sandbox")
    yield from ("--uid", str(USER), "--gid", str(USER), "--perms", "0755", "--dir", "/etc", "--proc", "/proc")
    if spec["bounds_buffers"] and os.path.exists(RECEIVED):
        yield from ("--file", str(keep(_RECEIVED_BYTES)), RECEIVED)


def _command(spec: dict[str, Any], keep: Callable[[bytes], int]) -> Iterator[str]:
    """Return what there is for a command on the kernel of the host."""
    yield from ("--seccomp", str(keep(b64decode(spec["seccomp"]))), "--cap-drop", "ALL")
    for path in filter(os.path.exists, _READ_ONLY):
        yield from ("--ro-bind", path, path)
    for path in filter(os.path.exists, _MASKED):
        yield from ("--ro-bind", "/dev/null", path)
    yield from ("--remount-ro", "/proc")  # processes have settings there, such as their share of the processor
    yield from ("--chdir", spec["cwd"], "--clearenv")
    for name, value in spec["env"].items():
        yield from ("--setenv", name, value)


def _system(spec: dict[str, Any]) -> Iterator[str]:
    # A runtime may be below /tmp, so it is mounted later.
    size = str(spec["limits"]["memory_bytes"])
    yield from ("--perms", "1777", "--size", size, "--tmpfs", "/tmp")  # noqa: S108 - of the sandbox
    for folder in (*_SYSTEM, *(f"/usr/share/{name}" for name in _SHARED)):
        yield from ("--ro-bind-try", folder, folder)
    for folder in _packages():
        yield from ("--tmpfs", folder, "--remount-ro", folder)
    for folder in _OLD_FOLDERS:
        if os.path.islink(folder):
            yield from ("--symlink", os.readlink(folder).lstrip("/"), folder)
        elif os.path.isdir(folder):
            yield from ("--ro-bind", folder, folder)


def _packages() -> Iterator[str]:
    found = [_OF_NODE]
    for library in _LIBRARIES:
        with suppress(OSError):
            pythons = [name for name in os.listdir(library) if name.startswith("python3")]
            found += [f"{library}/{python}/{packages}" for python in pythons for packages in _PACKAGES]
    return filter(os.path.isdir, found)


def _etc(keep: Callable[[bytes], int]) -> Iterator[str]:
    for name, text in _ETC.items():
        yield from ("--perms", "0444", "--file", str(keep(text.encode())), f"/etc/{name}")
    for path in _SETTINGS:
        yield from ("--ro-bind-try", path, path)


def _python(layout: Layout) -> Iterator[str]:
    runtime = layout.spec["runtime"]
    for path in runtime["paths"]:
        yield from ("--ro-bind-try", layout.path(path), path)
    for path in runtime["hidden"]:
        yield from ("--tmpfs", path, "--remount-ro", path)
    for path, target in runtime["links"].items():
        yield from ("--symlink", target, path)


def _memory(spec: dict[str, Any]) -> Iterator[str]:
    size = str(spec["limits"]["memory_bytes"])
    yield from ("--dev", "/dev", "--perms", "1777", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev")  # noqa: S108 - of the sandbox


def _files(layout: Layout) -> Iterator[str]:
    at = layout.spec["files_at"]
    if layout.spec["overlay"]:
        yield from ("--overlay-src", layout.path(layout.spec["files"]))
        yield from ("--overlay", layout.own["upper"], layout.own["work"], at)
    else:
        yield from ("--bind", layout.own["upper"], at)
