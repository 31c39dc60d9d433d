"""What a command may look like, and which ones are refused."""

from typing import Any

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.exec.python.reports import read_report
from berth.core.exec.requests import ExecLimits, read_command
from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, ExecCode

LIMITS = ExecLimits()
PYTHON = ExecCode(language="python", source="print(1)")


def read(**fields: Any) -> Any:
    return read_command(CreateContainerExecRequest(container_id="box", **fields), LIMITS)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({}, "command", "missing_required_parameter"),
        ({"command": ""}, "command", "missing_required_parameter"),
        ({"command": "a", "argv": ["a"]}, "argv", "invalid_value"),
        ({"command": "a", "code": PYTHON}, "code", "invalid_value"),
        ({"argv": ["a"], "code": PYTHON}, "argv", "invalid_value"),
        ({"command": "x" * 1_048_576}, "command", "string_above_max_length"),
        ({"command": "x" * 131_072}, "command", "string_above_max_length"),
        ({"command": "a\0b"}, "command", "invalid_value"),
        ({"argv": [""]}, "argv[0]", "invalid_value"),
        ({"argv": ["a", "b\0"]}, "argv[1]", "invalid_value"),
        ({"argv": ["a"] * 1025}, "argv", "array_above_max_length"),
        ({"argv": ["a" * 100_000] * 3}, "argv", "array_above_max_length"),
        ({"code": ExecCode(language="perl", source="1")}, "code.language", "invalid_value"),
        ({"code": ExecCode(source="1")}, "code.language", "missing_required_parameter"),
        ({"code": ExecCode(language="python", source="1", session="")}, "code.session", "invalid_value"),
        ({"code": ExecCode(language="python", source="1", session="a b")}, "code.session", "invalid_value"),
        ({"code": ExecCode(language="python", source="1", session="a" * 65)}, "code.session", "invalid_value"),
        ({"code": ExecCode(language="python")}, "code.source", "missing_required_parameter"),
        ({"code": ExecCode(language="python", source="x" * 1_048_577)}, "code.source", "string_above_max_length"),
        ({"command": "a", "cwd": "/etc"}, "cwd", "invalid_value"),
        ({"command": "a", "cwd": "../etc"}, "cwd", "invalid_value"),
        ({"command": "a", "cwd": "/mnt/database"}, "cwd", "invalid_value"),
        ({"command": "a", "cwd": "a\0b"}, "cwd", "invalid_value"),
        ({"command": "a", "cwd": ""}, "cwd", "missing_required_parameter"),
        ({"command": "a", "env": {"A=B": "c"}}, "env", "invalid_value"),
        ({"command": "a", "env": {"": "c"}}, "env", "invalid_value"),
        ({"command": "a", "env": {"A\n": "c"}}, "env", "invalid_value"),
        ({"command": "a", "env": {"A": "c\0"}}, "env.A", "invalid_value"),
        ({"command": "a", "env": {f"A{i}": "" for i in range(129)}}, "env", "object_above_max_length"),
        ({"command": "a", "env": {"A": "x" * 131_070}}, "env", "object_above_max_length"),
        ({"command": "a", "stdin": "x" * 1_048_577}, "stdin", "string_above_max_length"),
        ({"command": "a", "timeout_ms": 0}, "timeout_ms", "integer_below_min_value"),
        ({"command": "a", "timeout_ms": -1}, "timeout_ms", "integer_below_min_value"),
        ({"command": "a", "timeout_ms": 3_600_001}, "timeout_ms", "integer_above_max_value"),
        ({"command": "a", "max_output_length": 0}, "max_output_length", "integer_below_min_value"),
        ({"command": "a", "max_output_length": 1_048_577}, "max_output_length", "integer_above_max_value"),
    ],
)
def test_bad_input_is_refused_by_name(fields: Any, param: str, code: str) -> None:
    """Each bad value is refused with the name of its parameter and a code."""
    with pytest.raises(InvalidRequestError) as caught:
        read(**fields)
    assert (caught.value.param, caught.value.code) == (param, code)


def test_a_command_runs_in_a_shell() -> None:
    """A command without anything else runs in a shell, in the folder of the files, for the default time."""
    command = read(command="echo hi")
    assert command.argv == ("/bin/sh", "-c", "echo hi")
    assert (command.cwd, command.env, command.stdin) == ("/mnt/data", {}, b"")
    assert (command.timeout_seconds, command.output_bytes) == (60.0, 1_048_576)


def test_the_edges_are_allowed() -> None:
    """The largest values are accepted, and a relative folder is below that of the files."""
    command = read(argv=["a", ""], cwd="./b//c", env={"A_1": "="}, timeout_ms=3_600_000, max_output_length=1)
    assert (command.argv, command.cwd, command.env) == (("a", ""), "/mnt/data/b/c", {"A_1": "="})
    assert (command.timeout_seconds, command.output_bytes) == (3600.0, 1)
    assert len(read(command="x" * 131_071).argv[2]) == 131_071


def test_code_comes_before_the_input() -> None:
    """A program is the beginning of the standard input, and its length the last argument."""
    command = read(code=PYTHON, stdin="more")
    assert command.argv[0] == "python3"
    assert (command.argv[-1], command.stdin) == ("8", b"print(1)more")


def test_digests_tell_commands_apart() -> None:
    """Different commands have different digests, and the same one has the same."""
    assert read(command="a").sha256 == read(command="a", stdin="b").sha256
    assert len({read(command="a").sha256, read(command="b").sha256, read(argv=["a"]).sha256}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"exit_code": 3, "displays": ["a", "b", "a"]}\n', (3, ("a", "b"))),
        ("", (1, ())),
        ("[" * 60_000, (1, ())),
        ("[1]", (1, ())),
        ('{"exit_code": "0", "displays": "abc"}', (1, ())),
        ('{"exit_code": 256, "displays": [1, null, "a"]}', (1, ("a",))),
        ('{"exit_code": -1}', (1, ())),
    ],
)
def test_a_report_may_be_anything(text: str, expected: tuple[int, tuple[str, ...]]) -> None:
    """What code says of itself is taken as far as it fits; without an exit code, it has failed."""
    assert read_report(text) == expected
