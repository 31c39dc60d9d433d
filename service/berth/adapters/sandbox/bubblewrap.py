"""The driver `bubblewrap`: namespaces, an overlay and a seccomp filter, on the kernel of the host."""

import platform
from base64 import b64encode

from berth.adapters.sandbox import seccomp
from berth.adapters.sandbox.session import SupervisedSession
from berth.adapters.sandbox.supervised import SupervisedSandbox
from berth.core.exec.sandbox import SandboxCommand


class Bubblewrap(SupervisedSandbox):
    """Implements Sandbox."""

    isolation = "bubblewrap"

    async def session(self, command: SandboxCommand) -> SupervisedSession:
        """Start a session. StorageError, from here or from the first program, if it cannot be started."""
        spec = await self._spec(command)
        program = seccomp.assemble(platform.machine(), is_session=True)
        spec |= {"session": True, "channels": ("requests", "reports"), "seccomp": b64encode(program).decode()}
        return await SupervisedSession.started(await self._launcher.supervisor(), spec, command.files)
