"""Code in Python without a session: what it gets and what it prints. It runs without a sandbox."""

import pytest

from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, ExecCode
from berth.v1.exec_pb2 import Exec
from support.servers.execs import OURS, ExecWorld, box
from support.servers.hosted import Kept


async def test_a_program_leaves_its_input_to_those_that_it_starts(kept: Kept, world: ExecWorld) -> None:
    """Nothing of the standard input is read ahead with the program, which may begin with a byte order mark."""
    container_id = await box(kept)
    source = "\ufeff# coding: latin-1\nimport os, subprocess\nprint('ü', os.read(0, 2))\nsubprocess.run(['cat'])"
    code = ExecCode(language="python", source=source)
    request = CreateContainerExecRequest(container_id=container_id, code=code, stdin="in for a child", env={})
    result = await world.run(OURS, request)
    assert sorted(result.stdout) == sorted("ü b'in'\n for a child"), result.stderr


@pytest.mark.parametrize(("error", "code"), [("ValueError", 1), ("GeneratorExit", 1), ("KeyboardInterrupt", 130)])
async def test_a_traceback_has_the_lines_of_the_code(error: str, code: int, kept: Kept, world: ExecWorld) -> None:
    """It does not have those of what runs the code, whatever kind of error it is."""
    given = ExecCode(language="python", source=f"def f():\n    raise {error}\nf()")
    result = await world.run(OURS, CreateContainerExecRequest(container_id=await box(kept), code=given))
    assert result.outcome.exit_code == code
    assert f"    raise {error}\n" in result.stderr
    assert "<string>" not in result.stderr


@pytest.mark.parametrize("session", [None, "default"])
@pytest.mark.parametrize("mark", ["\u2028", "\x0c", "\x85", "\x1c"])
async def test_a_traceback_counts_lines_as_python_does(
    mark: str, session: str | None, kept: Kept, world: ExecWorld
) -> None:
    """A character that ends a line elsewhere, such as a form feed, does not shift the lines that are shown."""
    given = ExecCode(language="python", source=f"x = 'a{mark}b'\r\n1 / 0\rx = 2\n", session=session)
    result = await world.run(OURS, CreateContainerExecRequest(container_id=await box(kept), code=given))
    assert "line 2, in <module>\n    1 / 0\n" in result.stderr


@pytest.mark.parametrize("session", [None, "default"])
async def test_a_program_may_await_outside_of_functions(session: str | None, kept: Kept, world: ExecWorld) -> None:
    """As in notebooks; all of it runs in one event loop then, and an error shows the steps of the program alone."""
    container_id = await box(kept)

    async def run(source: str) -> Exec:
        given = ExecCode(language="python", source=source, session=session)
        return await world.run(OURS, CreateContainerExecRequest(container_id=container_id, code=given))

    source = "import asyncio\nasync def f(x):\n    await asyncio.sleep(0)\n    return x / 0 if x else 41\n"
    awaited = await run(f"{source}task = asyncio.create_task(f(0))\nprint(await task)\nawait f(0)")
    assert awaited.stdout == ("41\n41\n" if session else "41\n"), awaited.stderr
    several = await run(f"{source}async with asyncio.Lock():\n    print([await f(0) async for _ in g()])")
    assert "NameError: name 'g' is not defined" in several.stderr
    left = await run(f"{source}asyncio.create_task(asyncio.Event().wait())\nawait f(0)\nimport sys; sys.exit(3)")
    assert (left.outcome.exit_code, left.stderr) == (3, "")
    failed = await run(f"{source}await f(1)")
    number = 4 if session else ""
    name = f"<code {number}>" if session else "<code>"
    assert failed.stderr == (
        f'Traceback (most recent call last):\n  File "{name}", line 5, in <module>\n    await f(1)\n'
        f'  File "{name}", line 4, in f\n    return x / 0 if x else 41\n           ~~^~~\n'
        "ZeroDivisionError: division by zero\n"
    )


async def test_what_awaits_in_a_session_can_go_on(kept: Kept, world: ExecWorld) -> None:
    """A task that a program leaves goes on when the next one awaits, whatever other event loops there were."""
    container_id = await box(kept)

    async def run(source: str) -> Exec:
        given = ExecCode(language="python", source=source, session="default")
        return await world.run(OURS, CreateContainerExecRequest(container_id=container_id, code=given))

    made = "import asyncio\nqueue = asyncio.Queue()\ntask = asyncio.create_task(queue.get())\nawait asyncio.sleep(0)"
    assert (await run(made)).stderr == ""
    assert (await run("async def f(): return 8\nasyncio.run(f())")).stdout == "8\n"
    assert (await run("await queue.put(7)\nawait task")).stdout == "7\n"
    closed = await run(
        "async def g(): asyncio.get_running_loop().call_soon(asyncio.get_running_loop().stop)\nawait g()"
    )
    assert closed.outcome.exit_code == 0, closed.stderr
    assert (await run("await f()")).stdout == "8\n"
