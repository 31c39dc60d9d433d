"""Sessions of Python: what they keep, when they begin anew, and how many there are. They run without a sandbox."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from berth.core.errors import ContainerBusyError, ExecUnsupportedError, RateLimitError
from berth.core.exec.hosted import GIBIBYTE
from berth.core.exec.python.session import KEPT_SOURCES
from berth.core.exec.requests import ExecLimits
from berth.core.exec.sessions import sessions
from berth.core.exec.sessions.session import Session, SessionKey
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    ExecCode,
    ListContainerExecsRequest,
)
from berth.v1.container_file_service_pb2 import DeleteContainerFileRequest
from berth.v1.container_service_pb2 import DeleteContainerRequest
from berth.v1.exec_pb2 import Exec
from support.servers.execs import (
    OURS,
    THEIRS,
    ExecWorld,
    box,
    box_of,
    content,
    events,
    exec_world,
    of,
    paths,
    shell,
    upload,
)
from support.servers.hosted import Kept
from support.servers.service import eventually


def code(container_id: str, source: str, session: str | None = "default", **fields: Any) -> CreateContainerExecRequest:
    """Return the request for a program in a session."""
    given = ExecCode(language="python", source=source, session=session)
    return CreateContainerExecRequest(container_id=container_id, code=given, **fields)


async def run(world: ExecWorld, container_id: str, source: str, session: str | None = "default", **fields: Any) -> Exec:
    """Run a program in a session and return its result."""
    return await world.run(OURS, code(container_id, source, session, **fields))


def folders(world: ExecWorld) -> list[Path]:
    """Return the folders of sessions."""
    return [path for path in world.folder.iterdir() if path.name.startswith("session-")]


async def test_a_session_keeps_its_variables(kept: Kept, world: ExecWorld) -> None:
    """The next program has them, another session has not, and the value of the last expression is printed."""
    container_id = await box(kept)
    first = await run(world, container_id, "x = 41")
    assert (first.stdout, first.outcome.exit_code, first.session, first.session_restarted) == ("", 0, "default", False)
    second = await run(world, container_id, "x += 1\nx")
    assert (second.stdout, second.session_restarted) == ("42\n", False)
    other = await run(world, container_id, "x", "other")
    assert other.outcome.exit_code == 1
    assert "NameError" in other.stderr
    assert (await run(world, container_id, "x")).stdout == "42\n"
    assert (await run(world, container_id, "x = 1\nx", None)).stdout == ""


async def test_a_sandbox_without_sessions_refuses_them(kept: Kept, world: ExecWorld) -> None:
    """A session is a clear refusal, nothing of it is stored, and code without one runs."""
    world.sandbox.has_sessions = False
    container_id = await box(kept)
    with pytest.raises(ExecUnsupportedError, match="has no sessions: run the code without 'session'"):
        await run(world, container_id, "1")
    assert (await run(world, container_id, "print(1)", None)).stdout == "1\n"
    listed = await world.execs.list_container_execs(OURS, ListContainerExecsRequest(container_id=container_id))
    assert len(listed.data) == 1


async def test_a_failure_leaves_the_session(kept: Kept, world: ExecWorld) -> None:
    """An error, a syntax error and sys.exit end the program with their exit code, and variables are kept."""
    container_id = await box(kept)
    failed = await run(world, container_id, "x = 1\ndef f():\n    return 1 / 0\nf()")
    assert (failed.outcome.type, failed.outcome.exit_code, failed.stdout) == ("exit", 1, "")
    assert "ZeroDivisionError" in failed.stderr
    assert "return 1 / 0" in failed.stderr
    assert "value_of" not in failed.stderr
    assert "SyntaxError" in (await run(world, container_id, "x =")).stderr
    left = await run(world, container_id, "import sys\nsys.exit('gone')")
    assert (left.outcome.exit_code, left.stderr) == (1, "gone\n")
    assert (await run(world, container_id, "sys.exit(300)")).outcome.exit_code == 300 & 0xFF
    assert (await run(world, container_id, "sys.exit(1 << 64)")).outcome.exit_code == 0xFF, "as Python has it"
    result = await run(world, container_id, "x")
    assert (result.stdout, result.session_restarted) == ("1\n", False)


async def test_the_lines_of_a_program_are_known_to_later_ones(kept: Kept, world: ExecWorld) -> None:
    """A traceback shows those of a function that a program before has defined, and `inspect` finds them."""
    container_id = await box(kept)
    await run(world, container_id, "import inspect\ndef f():\n    return 1 / 0")
    assert "    return 1 / 0\n" in (await run(world, container_id, "f()")).stderr
    shown = await run(world, container_id, "print(inspect.getsource(f))")
    assert "    return 1 / 0\n" in shown.stdout, shown.stderr
    for _ in range(KEPT_SOURCES):
        await run(world, container_id, "1")
    forgotten = await run(world, container_id, "f()")
    assert "ZeroDivisionError" in forgotten.stderr
    assert "return 1 / 0" not in forgotten.stderr


async def test_each_program_may_warn_of_the_same(kept: Kept, world: ExecWorld) -> None:
    """A program that is run again shows its warning again, with the line it is for."""
    container_id = await box(kept)
    source = "import warnings\nfor _ in range(2): warnings.warn('old')"
    for number in (1, 2):
        warned = (await run(world, container_id, source)).stderr
        assert warned == f"<code {number}>:2: UserWarning: old\n  for _ in range(2): warnings.warn('old')\n"


@pytest.mark.parametrize(
    "left",
    [
        "sys.stdout = sys.stderr = None",
        "del sys.stdout, sys.stderr",
        "class Both:\n  write = sys.stdout.write\n  flush = sys.stdout.flush\nsys.stdout = Both()",
        "sys.stdout.detach()",
        "sys.excepthook = lambda *error: 1 / 0\nraise ValueError",
        "sys.stderr = None\nsys.exit('bye')",
        "exit()",
        "kept = builtins.print\ndel builtins.print\nprint(1)",
        "def late(*_):\n  1 / 0\n_ = signal.signal(signal.SIGALRM, late), signal.setitimer(signal.ITIMER_REAL, 0.001)",
    ],
)
async def test_what_a_program_leaves_does_not_end_the_session(left: str, kept: Kept, world: ExecWorld) -> None:
    """Streams that cannot be used are made again, and what else was replaced costs a program, and no variables."""
    container_id = await box(kept)
    await run(world, container_id, "import builtins, signal, sys\nx = 1")
    await run(world, container_id, left)
    await run(world, container_id, "builtins.print = globals().get('kept', vars(builtins).get('print'))")
    await run(world, container_id, "while signal.getitimer(signal.ITIMER_REAL)[0]: pass")
    result = await run(world, container_id, "sys.stderr.write(sys.stdin.read())\nprint(x)")
    assert result.stdout.endswith("1\n")
    assert (result.stderr, result.session_restarted) == ("", False)


async def test_the_display_hook_of_a_program_gets_values_only(kept: Kept, world: ExecWorld) -> None:
    """A program that ends with a statement has no value, and a hook of the session is not called for it."""
    container_id = await box(kept)
    source = "import sys\nsys.displayhook = lambda value: print('->', value)"
    shown = [(await run(world, container_id, source)).stdout for source in (source, "x = 1", "x")]
    assert shown == ["", "", "-> 1\n"]


async def test_what_a_program_is_given_is_for_it_alone(kept: Kept, world: ExecWorld) -> None:
    """Input, variables of the environment and the folder are those of the request, and the next one has its own."""
    container_id = await box(kept)
    await upload(kept, container_id, "sub/a", b"1")
    source = "import os, sys, subprocess\nprint(input(), os.environ.get('A'), os.getcwd()[-4:])\nsys.stdout.close()"
    assert (await run(world, container_id, source, stdin="in\n", env={"A": "b"}, cwd="sub")).stdout == "in b /sub\n"
    source = "print(repr(sys.stdin.read()), os.environ.get('A'), os.getcwd()[-4:])"
    assert (await run(world, container_id, source)).stdout.startswith("'' None ")
    source = "_ = subprocess.run(['cat'])"
    assert (await run(world, container_id, source, stdin="for a child")).stdout == "for a child"
    missing = await run(world, container_id, "1", cwd="none")
    assert (missing.outcome.exit_code, missing.stdout) == (126, "")


async def test_files_go_both_ways(kept: Kept, world: ExecWorld) -> None:
    """A session sees what the API and other commands changed, and what it changes is stored after each program."""
    container_id = await box(kept)
    await upload(kept, container_id, "kept", b"1")
    made = await run(world, container_id, "open('/mnt/data/a', 'w').write('1')")
    assert [(file.path, file.source) for file in made.files] == [("/mnt/data/a", "assistant")]
    await world.run(OURS, shell(container_id, "cd /mnt/data; echo 2 > a; echo 3 > deep; rm kept"))
    source = "import os\nprint(open('a').read(), sorted(os.listdir()))"
    assert (await run(world, container_id, source)).stdout == "2\n ['a', 'deep']\n"
    await run(world, container_id, "os.remove('deep'); open('a', 'a').write('more')")
    files = await paths(kept, container_id)
    assert set(files) == {"a"}
    assert await content(kept, container_id, files["a"]) == b"2\nmore"
    deleted = DeleteContainerFileRequest(container_id=container_id, file_id=files["a"])
    await kept.backend.delete_container_file(OURS, deleted)
    await upload(kept, container_id, "b/c", b"x")
    result = await run(world, container_id, "os.listdir(), open('b/c').read()")
    assert (result.stdout, list(result.files)) == ("(['b'], 'x')\n", [])


async def test_a_session_that_ended_begins_anew_and_says_so(kept: Kept, world: ExecWorld) -> None:
    """After a timeout, the end of the interpreter or a cancelled program, variables are gone, which the result says."""
    container_id = await box(kept)
    for end, outcome, seconds in (
        ("import time; time.sleep(60)", "timeout", 0.5),
        ("import os; os._exit(3)", "exit", 60),
    ):
        await run(world, container_id, "x = 1")
        ended = await run(world, container_id, end, timeout_ms=int(1000 * seconds))
        assert ended.outcome.type == outcome
        result = await run(world, container_id, "x = 1")
        assert (result.session_restarted, result.outcome.exit_code) == (True, 0)
    started = await world.execs.create_container_exec(OURS, code(container_id, "import time; time.sleep(60)"))
    cancelled = CancelContainerExecRequest(container_id=container_id, exec_id=started.id)
    await world.execs.cancel_container_exec(OURS, cancelled)
    await world.execs.retrieve_container_exec(OURS, of(started), is_awaited=True)
    assert (await run(world, container_id, "1")).session_restarted


async def test_another_process_takes_over(kept: Kept, world: ExecWorld) -> None:
    """A session that another process has run since has old variables, so it begins anew in the first one, too."""
    container_id, other = await box(kept), exec_world(kept, process="other")
    await run(world, container_id, "x = 1")
    assert (await run(other, container_id, "x = 2")).session_restarted
    back = await run(world, container_id, "x")
    assert (back.session_restarted, back.outcome.exit_code) == (True, 1)
    await other.execs.drain(1)


async def test_a_session_that_the_store_does_not_know_any_more_begins_anew(tmp_path: Path) -> None:
    """Another process may have run it since; only one that was never used goes without saying that it began anew."""
    session = Session(SessionKey("ours", "box", "default"), tmp_path / "session", GIBIBYTE)
    assert [await session.follow(None, "exec_1"), await session.follow(None, "exec_2")] == [True, False]


async def test_events_name_the_session(kept: Kept, world: ExecWorld) -> None:
    """Events that are read from the store do as well, and say whether the session began anew."""
    started = await world.execs.create_container_exec(OURS, code(await box(kept), "1"))
    live = await events(world, started)
    assert (live[0].exec.session, live[0].exec.HasField("session_restarted")) == ("default", True)
    await world.execs.retrieve_container_exec(OURS, of(started), is_awaited=True)
    assert await events(world, started) == live
    await world.execs.drain(1)


async def test_the_number_of_sessions_is_limited(kept: Kept) -> None:
    """For one more, the session that was idle for longest is ended; if none is idle, the answer is a 429."""
    world = exec_world(kept, limits=ExecLimits(sessions=2), capacity_bytes=8 * GIBIBYTE)
    container_id = await box(kept)
    for name in ("a", "b", "a", "c"):
        await run(world, container_id, "x = 1", name)
    assert len(folders(world)) == 2
    assert (await run(world, container_id, "x", "a")).stdout == "1\n"
    assert (await run(world, container_id, "x", "b")).session_restarted
    busy = [await box(kept), await box(kept)]
    for one in busy:
        await world.execs.create_container_exec(OURS, code(one, "import time; time.sleep(60)"))
    with pytest.raises(RateLimitError):
        await run(world, container_id, "x", "d")
    await world.execs.drain(0)
    assert folders(world) == []


async def stop_while_one_ends(world: ExecWorld) -> None:
    """Stop once a session begins to end: the stop waits for that, and no folder is left."""
    await world.sandbox.closing.wait()
    stopping = asyncio.create_task(world.execs.drain(0))
    done, _ = await asyncio.wait([stopping], timeout=0.2)
    assert not done
    world.sandbox.may_close.set()
    await stopping
    assert folders(world) == []


async def test_a_stop_waits_for_a_session_that_is_ending(kept: Kept) -> None:
    """One that was idle for too long when the process stops ends with its folder all the same."""
    world = exec_world(kept, limits=ExecLimits(session_idle_seconds=0))
    world.sandbox.may_close.clear()
    await run(world, await box(kept), "x = 1")
    await stop_while_one_ends(world)


async def test_a_stop_does_not_interrupt_the_end_of_a_session(kept: Kept, world: ExecWorld) -> None:
    """One that ends with its program ends with its folder, even if the stop waits no longer for the program."""
    world.sandbox.may_close.clear()
    started = await world.execs.create_container_exec(OURS, code(await box(kept), "import os; os._exit(0)"))
    await stop_while_one_ends(world)
    assert (await world.execs.retrieve_container_exec(OURS, of(started))).outcome.type == "exit"


async def test_a_program_waits_for_its_session_to_end(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """If its session is just giving way to another one, however long, a program begins anew: no other one runs."""
    monkeypatch.setattr(sessions, "RELEASE_SECONDS", 0.05)
    world = exec_world(kept, limits=ExecLimits(sessions=2), capacity_bytes=8 * GIBIBYTE)
    boxes = [await box(kept) for _ in range(3)]
    for one in boxes[:2]:
        await run(world, one, "x = 1")
    world.sandbox.may_close.clear()
    third = asyncio.create_task(run(world, boxes[2], "x = 1"))
    first = asyncio.create_task(run(world, boxes[0], "x"))
    done, _ = await asyncio.wait([third, first], timeout=0.2)
    assert not done
    world.sandbox.may_close.set()
    assert (await first).session_restarted
    assert not (await third).session_restarted
    await world.execs.drain(1)


async def test_idle_sessions_give_way_to_commands(kept: Kept, world: ExecWorld) -> None:
    """Memory that idle sessions hold is there for other commands; those that run keep theirs."""
    first, second, third = await box(kept), await box(kept), await box(kept)
    await run(world, first, "x = 1")
    await run(world, second, "x = 1")
    assert (await world.run(OURS, shell(third, "echo 1"))).stdout == "1\n"
    assert (await run(world, second, "x")).stdout == "1\n"
    assert (await run(world, first, "1")).session_restarted


async def test_idle_sessions_of_others_stay(kept: Kept) -> None:
    """If a tenant has what it may have, its own idle sessions give way to its commands."""
    world = exec_world(kept, capacity_bytes=4 * GIBIBYTE, tenant_bytes=2 * GIBIBYTE)
    theirs = await box_of(THEIRS, kept)
    await world.run(THEIRS, code(theirs, "x = 1"))
    first, second = await box(kept), await box(kept)
    await run(world, first, "x = 1")
    await run(world, second, "x = 1")
    assert (await world.run(OURS, shell(await box(kept), "echo 1"))).stdout == "1\n"
    assert (await run(world, first, "1")).session_restarted
    assert not (await world.run(THEIRS, code(theirs, "x"))).session_restarted
    await world.execs.drain(0)


@pytest.mark.parametrize("session", [None, "other"])
async def test_a_refused_command_ends_no_session(session: str | None, kept: Kept) -> None:
    """A container that runs a command refuses another one before idle sessions give way to it."""
    world = exec_world(kept, limits=ExecLimits(sessions=2), capacity_bytes=3 * GIBIBYTE)
    boxes = [await box(kept) for _ in range(3)]
    for one in boxes[:2]:
        await run(world, one, "x = 1")
    await world.execs.create_container_exec(OURS, shell(boxes[2], "sleep 60", background=True))
    with pytest.raises(ContainerBusyError):
        await run(world, boxes[2], "1", session)
    assert [(await run(world, one, "x")).stdout for one in boxes[:2]] == ["1\n", "1\n"]
    await world.execs.drain(0)


async def test_an_idle_session_ends(kept: Kept) -> None:
    """It ends after some time, and when its container is deleted or expires."""
    world = exec_world(kept, limits=ExecLimits(session_idle_seconds=0))
    container_id = await box(kept)
    await run(world, container_id, "1")
    await eventually(lambda: folders(world) == [])
    world = exec_world(kept, process="other")
    await run(world, container_id, "1")
    await asyncio.sleep(0)
    assert len(folders(world)) == 1
    await kept.backend.delete_container(OURS, DeleteContainerRequest(container_id=container_id))
    await eventually(lambda: folders(world) == [])
    container_id = await box(kept)
    await run(world, container_id, "1")
    kept.clock.advance(3600)
    await eventually(lambda: folders(world) == [])
