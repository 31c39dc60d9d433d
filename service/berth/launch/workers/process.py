"""One process of a worker: starts, asks and stops it."""

import asyncio
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process, create_subprocess_exec
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from berth.launch.process import child_process
from berth.launch.refusal import StartError
from berth.launch.workers.channel import STOP, Channel, Questions

START_SECONDS = 60.0
"""How long a worker may take to start, without the first one, which may have to migrate the database."""
CHECK_SECONDS = 5.0
"""Time between two checks of a running worker."""
HANG_SECONDS = 30.0
"""How long a worker may leave a check unanswered before it counts as hung."""


@dataclass(frozen=True)
class Refused:
    """What a worker says that cannot start."""

    reason: str


class WorkerProcess:
    """A process that serves; `pid` is its id."""

    def __init__(self, process: Process, channel: Channel) -> None:
        self.pid = process.pid
        self._process = process
        self._channel = channel
        self._questions: Questions | None = None

    @classmethod
    async def start(cls, module: str, assignment: object) -> Self:
        """Run a module of Berth as a worker, and send it what it is to do; see `wait_until_ready`."""
        ours, theirs = socket.socketpair()
        with theirs:
            # In a new session Ctrl-C reaches only the supervisor, which drains the workers.
            process = await create_subprocess_exec(
                *(sys.executable, "-IS", child_process.__file__, str(os.getpid())),
                *(sys.executable, "-P", "-m", module),
                stdin=theirs.fileno(),
                stdout=DEVNULL,
                start_new_session=True,
            )
        started = cls(process, await Channel.open(ours))
        with suppress(OSError):  # it has ended; what comes next notices that
            await started._channel.send(assignment)
        return started

    async def wait_until_ready(self, seconds: float | None = START_SECONDS) -> None:
        """Return once the worker serves. StartError if it cannot, has ended, or takes longer than `seconds`.

        It is killed then, and if the caller is cancelled: it has nothing to finish.
        """
        try:
            async with asyncio.timeout(seconds):
                answer = await self._channel.receive()
        except (OSError, EOFError) as error:
            status = await self._process.wait()
            raise StartError(f"a worker did not start (status {status}); see its messages above") from error
        except TimeoutError as error:
            await self.stop(0)
            raise StartError(f"a worker did not start within {seconds} seconds") from error
        except asyncio.CancelledError:
            await self.stop(0)
            raise
        if isinstance(answer, Refused):
            await self._process.wait()
            raise StartError(answer.reason)
        self._questions = Questions(self._channel)

    async def ask(self, name: str, *arguments: object) -> Any:
        """Have the worker, which is ready, do something; return its answer. EOFError or OSError if it has ended."""
        if self._questions is None:
            raise EOFError
        return await self._questions.ask(name, *arguments)

    async def failure(self) -> str:
        """Wait until the worker exits or hangs; kill it if it hangs, and return what happened."""
        exited = asyncio.create_task(self._process.wait())
        try:
            while not (await asyncio.wait([exited], timeout=CHECK_SECONDS))[0]:
                if not await self._answers():
                    await self.stop(0)
                    return "did not answer"
            return f"ended by itself with status {exited.result()}"
        finally:
            exited.cancel()
            if self._process.returncode is not None:
                self._channel.close()

    async def _answers(self) -> bool:
        """Return whether the worker answers, or has ended."""
        try:
            async with asyncio.timeout(HANG_SECONDS):
                await self.ask("answer")
        except TimeoutError:
            return False
        except (OSError, EOFError):
            await self._process.wait()
        return True

    async def stop(self, seconds: float) -> None:
        """Let the worker finish what runs in it; kill it if that takes longer than `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                with suppress(OSError):
                    await self._channel.send((0, STOP, ()))
                await self._process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        self._channel.close()
