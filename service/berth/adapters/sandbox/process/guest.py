"""Runs a command on gVisor's kernel: what bwrap shows of the host to runsc, and what runsc is to start.

bwrap makes a sandbox as for a command, but what is started in it is runsc, with rights in the namespaces of that
sandbox alone. runsc starts the kernel of the guest, which then starts the command; the root of the sandbox is the root
of the guest.
"""

import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from berth.adapters.sandbox.process.rlimits import rlimits

USER = 1000
"""The user that a command has, whatever it has outside."""
_AT = "/.runsc"
"""Where runsc is; the guest sees an empty folder there."""
_OWN = ("/tmp", "/dev/shm")  # noqa: S108 - of the guest
"""Folders in the memory of the guest."""
STARTED = "started"
"""The channel, the last one, with which a guest says that it runs, before it starts the command."""
_FIRST_CHANNEL = 3
_SIGNALS = " ".join(str(number) for number in (*range(1, 32), *range(34, 65)) if number not in {9, 17, 19})
"""All that can be ignored but SIGCHLD; two others are those of the C library."""
_START = (
    f'echo >&{{0}}; cd -- "$1" || exit 126; shift; trap "" {_SIGNALS}; exec {{0}}>&- 9>&2 2>/dev/null; '
    f'(trap - {_SIGNALS}; exec "$@" 2>&9 9>&-); exit "$?"'
)
"""What the first process of a guest does, a shell. It takes up orphans, which a command need not expect, and ignores
signals to its group, which are for the command.

What it would say of a command that a signal ended is not a part of the output.
"""
_ENV, _SHELL = ("/usr/bin/env", "-i"), ("/bin/sh", "-c", 'exec "$@"', "sh")
"""`env` sets variables of a command that would mean something to a shell. It takes a program with "=" for one of them,
so a shell starts that.
"""
_HOST_PROCESSES, _OWN_PROCESSES = 4, 512
"""The most processes and threads of the host for one process of the guest, and for its kernel; about 2 and 30 is usual.

A kernel that cannot start one of them ends.
"""


def options(spec: dict[str, Any], path: Callable[[str], str], keep: Callable[[bytes], int]) -> Iterator[str]:
    """Return the options of bwrap for runsc; `path` and `keep` are as in `arguments`."""
    yield from ("--cap-add", "ALL", "--chdir", "/", "--clearenv")
    for name, program in spec["guest"]["programs"].items():
        yield from ("--ro-bind", path(program), f"{_AT}/{name}")
    yield from ("--file", str(keep(json.dumps(_bundle(spec)).encode())), f"{_AT}/config.json")
    yield from ("--tmpfs", f"{_AT}/state")


def command(spec: dict[str, Any], channels: Sequence[int]) -> list[str]:
    """Return what bwrap starts; `channels` are the descriptors that the command gets."""
    # With a proxy, sockets of the guest are those of the namespace that bwrap made, which has nothing but the proxy.
    network = "host" if spec["proxy"] else "none"
    flags = ["--rootless", f"--root={_AT}/state", "--ignore-cgroups", f"--network={network}", "--overlay2=none"]
    passed = [f"--pass-fd={channel}:{_FIRST_CHANNEL + number}" for number, channel in enumerate(channels)]
    return [f"{_AT}/runsc", *flags, "--oci-seccomp", "run", f"--bundle={_AT}", *passed, _name(spec)]


def host_limit(processes: int) -> int:
    """Return how many processes and threads of the host a guest cannot exceed; its kernel refuses some much earlier."""
    return _HOST_PROCESSES * processes + _OWN_PROCESSES


def _bundle(spec: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a container, as OCI has it."""
    ids = [{"containerID": USER, "hostID": USER, "size": 1}]
    kinds = ("user", "pid", "ipc", "uts", "mount", *(() if spec["proxy"] else ("network",)))
    return {
        "ociVersion": "1.0.0",
        "hostname": "sandbox",
        "process": _process(spec),
        "root": {"path": "/", "readonly": True},
        "mounts": list(_mounts(spec)),
        "linux": {
            "uidMappings": ids,
            "gidMappings": ids,
            "namespaces": [{"type": kind} for kind in kinds],
            "seccomp": spec["guest"]["seccomp"],
        },
    }


def _name(spec: dict[str, Any]) -> str:
    """Return the name of the guest, which lists of processes show: that of the folder for the command."""
    return "guest-" + re.sub(r"[^\w.-]", "_", os.path.basename(os.path.dirname(spec["changes"])), flags=re.ASCII)


def _process(spec: dict[str, Any]) -> dict[str, Any]:
    *channels, started = [str(_FIRST_CHANNEL + number) for number in range(len(spec["channels"]))]
    start = ("/bin/sh", "-c", _START.format(started), "sh", spec["cwd"])
    return {
        "user": {"uid": USER, "gid": USER},
        "args": [*start, *_command(spec), *channels],
        "env": [],
        "cwd": "/",
        "noNewPrivileges": True,
        "capabilities": {},
        "rlimits": [{"type": name, "soft": soft, "hard": hard} for name, (soft, hard) in _rlimits(spec["limits"])],
    }


def _command(spec: dict[str, Any]) -> Iterator[str]:
    variables = {**spec["env"], "PWD": spec["cwd"]}
    yield from (*_ENV, *(f"{name}={value}" for name, value in variables.items()))
    yield from (*(_SHELL if "=" in spec["argv"][0] else ()), *spec["argv"])


def _rlimits(limits: dict[str, Any]) -> Iterator[tuple[str, tuple[int, int]]]:
    yield from rlimits(limits).items()
    # The first process counts.
    yield "RLIMIT_NPROC", (limits["processes"] + 1, limits["processes"] + 1)


def _mounts(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    size = f"size={spec['limits']['memory_bytes']}"
    yield {"destination": "/proc", "type": "proc"}
    yield {"destination": "/dev", "type": "tmpfs"}
    for folder in _OWN:
        yield {"destination": folder, "type": "tmpfs", "options": [size, "mode=1777", "nosuid", "nodev"]}
    for path in spec["runtime"]["paths"]:  # the own folders of the guest would hide those below
        if path.startswith(tuple(f"{folder}/" for folder in _OWN)):
            yield {"destination": path, "type": "bind", "source": path, "options": ["ro", "nosuid", "nodev"]}
    for folder in ("/sys", _AT):
        yield {"destination": folder, "type": "tmpfs", "options": ["ro", "mode=0755"]}
    at = spec["files_at"]
    yield {"destination": at, "type": "bind", "source": at, "options": ["rw", "nosuid", "nodev"]}
