"""Code in Python without a session: what it gets and what it prints. It runs without a sandbox."""

import pytest

from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, ExecCode
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
