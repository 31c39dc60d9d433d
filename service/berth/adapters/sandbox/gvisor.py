"""The driver `gvisor`: a kernel of its own for each sandbox, inside of the namespaces of bwrap."""

import os
import platform
from pathlib import Path
from typing import Any

from berth.adapters.sandbox import seccomp
from berth.adapters.sandbox.cgroups import Delegated
from berth.adapters.sandbox.process.guest import STARTED
from berth.adapters.sandbox.reasons import explain_runsc
from berth.adapters.sandbox.session import SupervisedSession
from berth.adapters.sandbox.supervised import SupervisedSandbox
from berth.core.errors import ExecUnsupportedError
from berth.core.exec.sandbox import NO_SESSIONS, SandboxCommand

_SIDECARS = "gvisor-bin"
"""The folder beside runsc with further programs that it may need."""


class Gvisor(SupervisedSandbox):
    """Implements Sandbox with the program `runsc`."""

    isolation = "gvisor"
    has_sessions = False

    def __init__(
        self, folder: Path, runsc: Path, *, runtime: Path | None = None, cgroups: Delegated | None = None
    ) -> None:
        super().__init__(folder, runtime=runtime, cgroups=cgroups)
        self._runsc = runsc.absolute()

    async def probe(self) -> str | None:
        """Run a command; return why that does not work here and what to do about it, None if it works."""
        if not os.access(self._runsc, os.X_OK) or not self._runsc.is_file():
            return f"{self._runsc}, which exec.runsc names, is no program that Berth may run"
        return await super().probe()

    def _explain(self, problem: str) -> str:
        return explain_runsc(problem, self._runsc)

    async def session(self, command: SandboxCommand) -> SupervisedSession:  # noqa: ARG002 - there are none
        """Refuse: nothing outside of a guest can stop one process of it and end the others."""
        raise ExecUnsupportedError(NO_SESSIONS)

    async def _spec(self, command: SandboxCommand) -> dict[str, Any]:
        spec = await super()._spec(command)
        programs = {"runsc": str(self._runsc)}
        if (sidecars := self._runsc.parent / _SIDECARS).is_dir():
            programs[_SIDECARS] = str(sidecars)
        guest = {"programs": programs, "seccomp": seccomp.profile(platform.machine())}
        channels = (*spec["channels"], STARTED)
        return {**spec, "channels": channels, "guest": guest, "sources": [*spec["sources"], *programs.values()]}
