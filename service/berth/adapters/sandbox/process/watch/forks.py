"""Bounds how deep processes fork one another without starting another program.

A mapping with memory of its own is tied to those of all processes that it may have pages from: the kernel keeps 64
bytes for each of these ties, which are counted nowhere, and takes long to remove them when the processes end.
"""

from collections.abc import Mapping

from berth.adapters.sandbox.process.watch.proc import Proc, TooMuchError

_MAX_TIES = 1 << 20
"""The kernel takes about a second to remove so many. A hundred processes of one parent have a tenth of it."""
_DEEP = 8
"""From how many forks on mappings are read at each look: dividing one makes a tie for each of them."""
_INIT = "1"
"""The first process of a sandbox. It becomes the parent of orphans: `PR_SET_CHILD_SUBREAPER` is refused."""


class Forks:
    """The forks among the processes in `proc`."""

    def __init__(self, proc: Proc) -> None:
        self._proc = proc
        self._depths: dict[str, int] = {}

    def is_deep(self, process: str) -> bool:
        """Return whether a process was made by many forks at the last look."""
        return self._depths.get(process, 0) >= _DEEP

    def check(self, parents: Mapping[str, str], mappings: Mapping[str, int], *, is_complete: bool) -> None:
        """Raise TooMuchError for too many ties, of the parents of processes and how many mappings they have.

        If it `is_complete`, all processes are among them, and it is remembered by how many forks each one was made.
        """
        depths = self._counted(parents, is_exact=False, is_complete=is_complete)
        if _ties(depths, mappings) > _MAX_TIES:
            depths = self._counted(parents, is_exact=True, is_complete=is_complete)
            if _ties(depths, mappings) > _MAX_TIES:
                raise TooMuchError
        if is_complete:
            self._depths = depths

    def _counted(self, parents: Mapping[str, str], *, is_exact: bool, is_complete: bool) -> dict[str, int]:
        """Return how many forks made each process; at least as many, unless it `is_exact`, which takes more time."""
        depths = {_INIT: 0}
        if not is_complete:  # the oldest ones, which are looked at last, are as they were
            depths |= {parent: self._depths.get(parent, 0) for parent in {*parents.values()} - parents.keys()}
        for process in parents:
            line, at = list[str](), process
            while at in parents and at not in depths:
                depths[at] = 0  # numbers that were given again during the look may make a circle
                line.append(at)
                at = parents[at]
            for one in reversed(line):
                is_orphan = parents[one] == _INIT or parents[one] not in depths
                if (is_exact or is_orphan) and not self._proc.is_fork(one):
                    depths[one] = 0
                elif is_orphan:
                    # How many forks made it cannot be told any more; more than there are processes do not matter.
                    depths[one] = self._depths.get(one, len(parents))
                else:
                    depths[one] = depths[parents[one]] + 1
        return depths


def _ties(depths: Mapping[str, int], mappings: Mapping[str, int]) -> int:
    return sum(depth * mappings.get(process, 0) for process, depth in depths.items())
