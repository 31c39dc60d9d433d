"""Counts the memory of a sandbox.

It is what the processes have, what is in their file systems in memory, and shared memory that no process may have
mapped at the moment. Pages that several processes share count once as soon as it matters.
"""

import os
import re
import time

from berth.adapters.sandbox.process.watch.forks import Forks
from berth.adapters.sandbox.process.watch.kept import Kept
from berth.adapters.sandbox.process.watch.mappings import Mappings, read_mappings, writes_no_file
from berth.adapters.sandbox.process.watch.proc import Proc, status_line
from berth.adapters.sandbox.process.watch.shares import Sessions

_INODE_BYTES = 1024
"""What a file in memory takes besides its content."""
_MAX_LOCKS = 10_000
"""How many locks on files there may be: they cost the kernel memory, and listing them time, also that of others."""
_SOCKET_BYTES = 212_992
"""What the kernel keeps for a socket: of Unix, if it is not read from, of others for its options.

Nothing else bounds that, unless the machine's limits were raised, so a command has fewer sockets than fit its memory.
"""
_SIZES = ("RssAnon", "RssShmem", "HugetlbPages", "VmPTE", "VmSwap", "VmSize")
_PSS = re.compile(rb"^Pss_Anon:\s+(\d+)", re.MULTILINE)
_Sizes = tuple[int, ...]
_MAPS_SECONDS, _SHARE = 0.5, 4
"""How often all mappings are read without a hint at a change; that takes at most one part in five of the time."""
_CHECK_SECONDS = 0.05
"""How often forks are counted during a look."""


class Memory:
    """The memory of the processes in `proc`, and of the file systems with the open folders `mounts`.

    A look at it also tells `sessions` which of them there are, and how many threads.
    """

    def __init__(self, proc: Proc, mounts: list[int], sessions: Sessions) -> None:
        self._proc = proc
        self._mounts = mounts
        self._device = _unnamed_device()
        self.devices = {os.fstat(mount).st_dev for mount in mounts} | {self._device}
        self._mappings: dict[str, tuple[_Sizes, Mappings]] = {}
        self._next_maps = 0.0
        self._kept = Kept(proc)
        self._kept_bytes = 0
        self._sessions = sessions
        self._forks = Forks(proc)

    def used(self, enough: int) -> int:
        """Return how much is used; it is exact only if that is more than `enough`."""
        begun = time.monotonic()
        if is_due := begun >= self._next_maps:
            self._mappings.clear()
            self._proc.check_lines("locks", _MAX_LOCKS)
            self._proc.check_lines("1/net/unix", 1 + enough // _SOCKET_BYTES)
            self._kept_bytes = self._in_kernel(1 + enough // _SOCKET_BYTES)
        found = self._found()
        if is_due:
            ended = time.monotonic()
            self._next_maps = ended + max(_MAPS_SECONDS, _SHARE * (ended - begun))
        self._mappings = {name: value for name, value in self._mappings.items() if name in found}
        rest = sum(map(_in_memory, self._mounts)) + self._shared() + self._kept_bytes
        rest += sum(own for _, own in found.values())
        total = rest + sum(private for private, _ in found.values())
        if total <= enough:
            return total
        if (total := rest + self._shares(found)) <= enough:
            return total
        # A process that starts while shares are read makes those that were read before it too large.
        return rest + self._shares(found)

    def _in_kernel(self, max_sockets: int) -> int:
        """Return what the kernel of the host keeps for the processes. TooMuchError for more sockets than that."""
        return self._kept.used(max_sockets)

    def _found(self) -> dict[str, tuple[int, int]]:
        """Return what `_process` says of each process, including those that start meanwhile."""
        found: dict[str, tuple[int, int]] = {}
        parents: dict[str, str] = {}
        checked = time.monotonic()
        for name in self._proc.processes():
            found[name] = self._process(name, parents)
            # While a process forks, its mappings cannot be read; if each new one forks, a look may take very long.
            if time.monotonic() - checked > _CHECK_SECONDS:
                self._check_forks(parents, is_complete=False)
                checked = time.monotonic()
        self._check_forks(parents, is_complete=True)
        return found

    def _check_forks(self, parents: dict[str, str], *, is_complete: bool) -> None:
        mappings = {name: mappings.number for name, (_, mappings) in self._mappings.items() if name in parents}
        self._forks.check(parents, mappings, is_complete=is_complete)

    def _shares(self, found: dict[str, tuple[int, int]]) -> int:
        shares: dict[str, int] = {}
        lenders: set[str] = set()

        def share(name: str) -> int:
            if name not in shares:
                shares[name] = self._proportional(name, found)
            return shares[name]

        for name in self._proc.processes():
            lender = self._proc.lender(name)
            # A thread waits for one process. If its own process is gone by now, the memory is that of the other one.
            if lender is None or lender in lenders or not share(lender.partition("/")[0]):
                share(name)
            else:
                lenders.add(lender)
        return sum(shares.values())

    def mappings(self, process: str) -> Mappings:
        """Return the mappings of a process."""
        return read_mappings(self._proc.read_memory(process, "maps"), self.devices)

    def writes_files(self, process: str) -> bool:
        """Return whether a process has memory that is shared with files on a disk, and may write to it.

        It may if it opened the file for that, also while the memory is protected: when it takes that back, it can write
        at once, without a change of the times of the file.
        """

        def may_write(place: str) -> bool:
            return self._proc.may_write(f"{process}/map_files/{place}")

        if self._proc.ask(f"{process}/maps", lambda maps: writes_no_file(maps, may_write)):
            return False
        return any(map(may_write, self.mappings(process).shared_files))

    def has_hidden_files(self) -> bool:
        """Return whether a process had mapped files without a name when its mappings were last read."""
        return any(mappings.has_hidden for _, mappings in self._mappings.values())

    def _shared(self) -> int:
        shared: dict[bytes, int] = {}
        for _, mappings in self._mappings.values():
            for key, size in mappings.shared.items():
                shared[key] = max(shared.get(key, 0), size)
        return sum(shared.values())

    def _process(self, name: str, parents: dict[str, str]) -> tuple[int, int]:
        """Return the private memory of a process, and what is its own in any case: page tables, swap, mappings.

        Its parent is added to `parents`.
        """
        numbers = self._numbers(name, parents)
        # A change of mappings mostly shows in these.
        sizes = numbers.get("VmSize", 0), numbers.get("RssShmem", 0)
        if name not in self._mappings or self._mappings[name][0] != sizes or self._forks.is_deep(name):
            self._mappings[name] = sizes, self.mappings(name)
        own = sum(numbers.get(key, 0) for key in ("VmPTE", "VmSwap", "HugetlbPages"))
        mappings = self._mappings[name][1]
        if mappings.own == 0:  # they cannot be read, so what is shared cannot be told from it
            own += numbers.get("RssShmem", 0)
        return numbers.get("RssAnon", 0), own + mappings.own

    def _numbers(self, name: str, parents: dict[str, str]) -> dict[str, int]:
        """Return numbers of a process; if its first thread has ended, another one has them."""
        for place in self._proc.places(name):
            text = self._proc.read(f"{place}/status")
            if found := self._numbers_in(text):
                parents[name] = status_line(text, "PPid").decode()
                # At once: with many sessions, the supervisor seldom has a turn.
                session, threads = status_line(text, "NSsid").rpartition(b"\t")[2], int(status_line(text, "Threads"))
                self._sessions.note(session, threads)
                return found
        return {}

    def _numbers_in(self, text: bytes) -> dict[str, int]:
        found = {name: int(line.split()[0]) << 10 for name in _SIZES if (line := status_line(text, name))}
        return found if "VmSize" in found else {}

    def _proportional(self, name: str, found: dict[str, tuple[int, int]]) -> int:
        share = _PSS.search(self._proc.read_memory(name, "smaps_rollup"))
        if share:
            return int(share[1]) << 10
        if self._proc.is_gone(name):
            return 0
        return found[name][0] if name in found else self._numbers(name, {}).get("RssAnon", 0)


class GuestMemory(Memory):
    """The memory of a guest: its kernel keeps that of all processes, and files in memory, in files without a name.

    Processes of the host map much more of these than is used.
    """

    def _in_kernel(self, max_sockets: int) -> int:
        # With a way to the network, its sockets are those of the host; what else there is, its own kernel bounds.
        return self._kept.in_connections(max_sockets)

    def _shared(self) -> int:
        found: dict[int, int] = {}
        for process in self._proc.tables(self._proc.processes()):
            for _, info in self._proc.open_files(process):
                if info.st_dev == self._device:
                    found[info.st_ino] = info.st_blocks * 512
        return sum(found.values())


def _unnamed_device() -> int:
    """Return the device of files in memory that have no name."""
    descriptor = os.memfd_create("berth")
    try:
        return os.fstat(descriptor).st_dev
    finally:
        os.close(descriptor)


def _in_memory(mount: int) -> int:
    info = os.fstatvfs(mount)
    return (info.f_blocks - info.f_bfree) * info.f_frsize + (info.f_files - info.f_ffree) * _INODE_BYTES
