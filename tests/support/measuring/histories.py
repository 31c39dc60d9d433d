"""Judges whether the calls to one container, with the times of their begin and end, happened one after the other.

It searches for an order of the calls (Wing and Gong 1993, with the memory of Lowe 2017) in which each begins and ends
around its place, and has the answer that it got. A call without an answer may have its effect at any later time, or
never.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, NamedTuple

GONE = "not found"
"""The answer of a call to a container or file that does not exist."""


SHOWN = 12
"""How many steps of a wrong history are shown."""


class State(NamedTuple):
    """What there is at a moment: whether the container exists, and the names of its files."""

    exists: bool
    files: frozenset[str]


NEW = State(exists=False, files=frozenset())


@dataclass(frozen=True)
class Step:
    """A call: `end` is infinite and `answer` None if it got no answer; `file` is the name of its file."""

    kind: str
    begin: float
    end: float
    file: str = ""
    answer: Any = None

    @property
    def may_be_missing(self) -> bool:
        """Whether it may never have had an effect."""
        return self.end == inf

    def apply(self, state: State) -> State | None:
        """Return the state after it, None if its answer cannot be that of a call in `state`."""
        if self.answer == GONE:
            missing = bool(self.file) and self.kind != "upload" and self.file not in state.files
            return state if missing or not state.exists else None
        if self.kind == "create":
            return State(exists=True, files=frozenset()) if not state.exists else None
        if not state.exists:
            return None
        return self._of_existing(state)

    def _of_existing(self, state: State) -> State | None:
        """Return the state after a success in a container that exists."""
        if self.kind == "upload":
            return state._replace(files=state.files | {self.file}) if self.file not in state.files else None
        if self.kind == "list":
            return state if state.files == self.answer else None
        if self.kind == "delete":
            return NEW
        if self.kind == "retrieve":
            return state
        if self.file not in state.files:
            return None
        return state._replace(files=state.files - {self.file}) if self.kind == "delete file" else state


def relevant(steps: Sequence[Step]) -> list[Step]:
    """Return the steps by their begin, without those that got no answer and have no visible effect.

    An upload without an answer must have had its effect if its file was seen.
    """
    seen = {step.file for step in steps if step.kind in ("read", "delete file") and step.answer not in (GONE, None)}
    seen |= {name for step in steps if step.kind == "list" and step.answer != GONE for name in step.answer or ()}
    effects = ("delete", "delete file")
    kept = (
        step
        for step in steps
        if not step.may_be_missing or step.kind in effects or (step.kind == "upload" and step.file in seen)
    )
    return sorted(kept, key=lambda step: step.begin)


def is_linearizable(steps: Sequence[Step]) -> bool:
    """Return whether there is an order of the calls to a container in which all answers are right."""
    ordered = relevant(steps)
    required = sum(1 << at for at, step in enumerate(ordered) if not step.may_be_missing)
    seen: set[tuple[int, State]] = set()
    stack = [(0, NEW)]
    while stack:
        done, state = stack.pop()
        if done & required == required:
            return True
        for at in _next(ordered, done):
            after = ordered[at].apply(state)
            reached = (done | 1 << at, after or NEW)
            if after is not None and reached not in seen:
                seen.add(reached)
                stack.append(reached)
    return False


def _next(ordered: Sequence[Step], done: int) -> Iterator[int]:
    """Yield which steps may be next: those that began before any that is not done has ended."""
    at = (~done & (done + 1)).bit_length() - 1  # the first that is not done
    first_end = inf
    candidates = []
    while at < len(ordered) and ordered[at].begin <= first_end:
        if not done >> at & 1:
            candidates.append(at)
            first_end = min(first_end, ordered[at].end)
        at += 1
    yield from (at for at in candidates if ordered[at].begin <= first_end)


def first_wrong(steps: Sequence[Step]) -> Sequence[Step]:
    """Return the end of a history up to the first answer that no order explains, for people."""
    answered = sorted((step for step in steps if not step.may_be_missing), key=lambda step: step.end)
    for last in answered:
        if not is_linearizable(_until(steps, last.end)):
            return _until(steps, last.end)[-SHOWN:]
    return []


def _until(steps: Sequence[Step], moment: float) -> list[Step]:
    """Return what is known at a moment: calls that run have no answer yet."""
    begun = (step for step in steps if step.begin <= moment)
    return [step if step.end <= moment else replace(step, end=inf, answer=None) for step in begun]
