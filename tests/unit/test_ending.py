"""How a process ends that has used obstore, whose threads may return to Python at any moment."""

import subprocess
import sys

PROCESSES = 12
PROGRAM = """
import asyncio, atexit, sys
import obstore
from obstore.store import MemoryStore
from berth.launch.process.ending import end

async def put_many():
    store = MemoryStore()
    await asyncio.gather(*(obstore.put_async(store, str(number), b"x") for number in range(200)))

atexit.register(print, "done")
asyncio.run(put_many())
print("begun")
end(3)
"""


def test_no_thread_aborts_the_end() -> None:
    """The status is the one that was given, each time, after all that is done at the end; nothing printed is lost."""
    command = [sys.executable, "-c", PROGRAM]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(PROCESSES)]
    ended = {(*process.communicate(), process.returncode) for process in running}
    assert ended == {("begun\ndone\n", "", 3)}
