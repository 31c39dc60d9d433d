"""Validation of CreateContainerExecRequest: what is to be run, and within which limits."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from berth.core.additional_fields import refuse_additional
from berth.core.errors import InvalidRequestError
from berth.core.exec.python.texts import once_text, session_text
from berth.core.limits import limits_of
from berth.core.paths import ROOT
from berth.core.validation import check_choice, check_integer, check_length, invalid, missing
from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, ExecCode

MAX_COMMAND_BYTES = limits_of(CreateContainerExecRequest, "command").max_bytes
"""The longest single argument that Linux accepts (MAX_ARG_STRLEN, with its NUL); a command is one."""
ARGUMENTS = limits_of(CreateContainerExecRequest, "argv")
MAX_SOURCE_BYTES = limits_of(ExecCode, "source").max_bytes
MAX_STDIN_BYTES = limits_of(CreateContainerExecRequest, "stdin").max_bytes
ENVIRONMENT = limits_of(CreateContainerExecRequest, "env")
MAX_CWD_BYTES = limits_of(CreateContainerExecRequest, "cwd").max_bytes
LANGUAGES = tuple(limits_of(ExecCode, "language").values)
SHELL = "/bin/sh"
PYTHON = "python3"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SESSION = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
NO_WINDOWS = {"MPLBACKEND": "agg"}
"""Figures of matplotlib are pictures, without a window."""


@dataclass(frozen=True, slots=True)
class ExecLimits:
    """The configured limits of commands.

    `timeout_seconds` applies if a request names none. `output_bytes` is the default and the maximum. There are at most
    `sessions` at a time, each idle for `session_idle_seconds` at most. The other fields are those of SandboxLimits.
    """

    timeout_seconds: int = 60
    max_timeout_seconds: int = 3600
    output_bytes: int = 1_048_576
    processes: int = 256
    disk_bytes: int = 1_073_741_824
    files: int = 2000
    sessions: int = 16
    session_idle_seconds: int = 900


@dataclass(frozen=True, slots=True)
class Command:
    """A valid request: what to run, where, and for how long.

    `sha256` is the digest of what is run, for the audit trail, in 64 hexadecimal digits. If `reports` is set, the
    program says what it displayed. With a `session`, `source` is run in it, and `argv` is the program of the session.
    """

    argv: tuple[str, ...]
    cwd: str
    env: dict[str, str]
    stdin: bytes
    timeout_seconds: float
    output_bytes: int
    sha256: str
    reports: bool = False
    session: str | None = None
    source: str = ""


def read_command(request: CreateContainerExecRequest, limits: ExecLimits) -> Command:
    """Return the command that `request` describes. InvalidRequestError if the request is invalid."""
    refuse_additional(request.additional_fields, request)
    argv = _program(request)
    stdin = request.stdin.encode()
    check_length(len(stdin), "stdin", maximum=MAX_STDIN_BYTES, what="string", unit="length in bytes")
    command = Command(
        argv,
        cwd=_folder(request.cwd) if request.HasField("cwd") else ROOT,
        env=_environment(request),
        stdin=stdin,
        timeout_seconds=_timeout(request, limits),
        output_bytes=_output_bytes(request, limits),
        sha256=_digest("\0".join(argv)),
    )
    return _with_code(command, request.code) if request.HasField("code") else command


def _with_code(command: Command, code: ExecCode) -> Command:
    """Return the command that runs a program in a programming language."""
    digest = _digest(code.source)
    if code.HasField("session"):
        return replace(
            command, argv=(PYTHON, "-c", session_text()), sha256=digest, session=code.session, source=code.source
        )
    # A program may be longer than an argument, so it is ahead of the standard input.
    source = code.source.encode()
    argv = (PYTHON, "-c", once_text(), str(len(source)))
    env = NO_WINDOWS | command.env
    return replace(command, argv=argv, env=env, stdin=source + command.stdin, sha256=digest, reports=True)


def _program(request: CreateContainerExecRequest) -> tuple[str, ...]:
    """Return the arguments of a command, none for code, which is checked."""
    given = [name for name in ("command", "code") if request.HasField(name)]
    given += ["argv"] if request.argv else []
    if not given:
        raise InvalidRequestError(
            "One of command, argv and code is required.", param="command", code="missing_required_parameter"
        )
    if len(given) > 1:
        raise invalid(given[1], "only one of command, argv and code is allowed")
    if given == ["argv"]:
        return _arguments(request.argv)
    if given == ["code"]:
        _check_code(request.code)
        return ()
    _check_part(request.command, "command", maximum=MAX_COMMAND_BYTES)
    return (SHELL, "-c", request.command)


def _arguments(argv: Sequence[str]) -> tuple[str, ...]:
    check_length(len(argv), "argv", maximum=ARGUMENTS.max_items, what="array", unit="length")
    if not argv[0]:
        raise invalid("argv[0]", "it must name a program")
    for index, argument in enumerate(argv):
        _check_part(argument, f"argv[{index}]", maximum=ARGUMENTS.items.max_bytes, may_be_empty=True)
    total = sum(len(argument.encode()) for argument in argv)
    check_length(total, "argv", maximum=ARGUMENTS.max_bytes, what="array", unit="length in bytes")
    return tuple(argv)


def _check_code(code: ExecCode) -> None:
    if not code.language:
        raise missing("code.language")
    check_choice(code.language, "code.language", choices=LANGUAGES)
    _check_part(code.source, "code.source", maximum=MAX_SOURCE_BYTES)
    if code.HasField("session") and not _SESSION.fullmatch(code.session):
        raise invalid("code.session", "it must be 1 to 64 letters, digits, '.', '_' and '-'")


def _check_part(text: str, param: str, *, maximum: int, may_be_empty: bool = False) -> None:
    """Check the length of a text, and that it has no NUL, with which the kernel ends an argument."""
    if not text and not may_be_empty:
        raise missing(param)
    check_length(len(text.encode()), param, maximum=maximum, what="string", unit="length in bytes")
    if "\0" in text:
        raise invalid(param, "NUL is not allowed")


def _folder(cwd: str) -> str:
    """Return the folder as an absolute path without empty segments and dots."""
    _check_part(cwd, "cwd", maximum=MAX_CWD_BYTES)
    parts = [part for part in cwd.split("/") if part not in {"", "."}]
    if ".." in parts:
        raise invalid("cwd", "'..' is not allowed")
    path = "/" + "/".join(parts) if cwd.startswith("/") else "/".join((ROOT, *parts))
    if path != ROOT and not path.startswith(f"{ROOT}/"):
        raise invalid("cwd", f"it must be {ROOT} or below it")
    return path


def _environment(request: CreateContainerExecRequest) -> dict[str, str]:
    check_length(len(request.env), "env", maximum=ENVIRONMENT.max_items, what="object", unit="length")
    for name, value in request.env.items():
        if not _VARIABLE.fullmatch(name):
            raise invalid("env", "a name must consist of letters, digits and underscores, and not begin with a digit")
        _check_part(value, f"env.{name}", maximum=ENVIRONMENT.max_bytes, may_be_empty=True)
    total = sum(len(name) + len(value.encode()) for name, value in request.env.items())
    check_length(total, "env", maximum=ENVIRONMENT.max_bytes, what="object", unit="length in bytes")
    return dict(request.env)


def _timeout(request: CreateContainerExecRequest, limits: ExecLimits) -> float:
    if not request.HasField("timeout_ms"):
        return float(min(limits.timeout_seconds, limits.max_timeout_seconds))
    maximum = limits.max_timeout_seconds * 1000
    return check_integer(request.timeout_ms, "timeout_ms", minimum=1, maximum=maximum) / 1000


def _output_bytes(request: CreateContainerExecRequest, limits: ExecLimits) -> int:
    if not request.HasField("max_output_length"):
        return limits.output_bytes
    return check_integer(request.max_output_length, "max_output_length", minimum=1, maximum=limits.output_bytes)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()
