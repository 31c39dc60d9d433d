"""`berth exec`: runs a command in a hosted container, with its output and its exit code."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Annotated

import typer

from berth.client.connection import Connection
from berth.client.errors import ClientError
from berth.commands.remote import remote
from berth.commands.terminal.signals import exit_on_signals
from berth.launch.refusal import StartError
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    ExecCode,
    StreamContainerExecRequest,
)
from berth.v1.exec_pb2 import Exec, ExecEvent

INTERRUPTED, TIMED_OUT = 130, 124
"""The exit codes after Ctrl-C, as shells have it, and after a timeout, as timeout(1) has it."""
MAX_SECONDS = (2**31 - 1) // 1000
"""The longest timeout that a request can name."""


@remote
def execute(
    connection: Connection,
    container_id: Annotated[str, typer.Argument(metavar="CONTAINER", help="The container's id.")],
    command: Annotated[
        list[str], typer.Argument(metavar="COMMAND...", help="The program and its arguments, after `--`.")
    ],
    *,
    python: Annotated[
        bool, typer.Option("--python", help="COMMAND is a program in Python; `-` reads it from stdin.")
    ] = False,
    session: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="With --python: the session that keeps variables between programs."),
    ] = None,
    shell: Annotated[bool, typer.Option("--shell", help="COMMAND is a line for the shell.")] = False,
    stdin: Annotated[bool, typer.Option("--stdin", help="Send stdin to the command.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option("--timeout", min=0.001, max=MAX_SECONDS, metavar="SECONDS", help="When to end the command."),
    ] = None,
    env: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A variable; repeatable.")] = None,
    cwd: Annotated[str | None, typer.Option(metavar="FOLDER", help="Where to start, below /mnt/data.")] = None,
) -> None:
    """Run a command in a hosted container, and exit with its exit code. Ctrl-C, SIGTERM and SIGHUP end it."""
    request = StreamContainerExecRequest(
        container_id=container_id,
        cwd=cwd,
        env=dict(map(_variable, env or ())),
        timeout_ms=None if seconds is None else round(seconds * 1000),
    )
    if python and shell:
        raise StartError("--python and --shell cannot be used together")
    if session is not None and not python:
        raise StartError("--session needs --python")
    if python:
        request.code.CopyFrom(ExecCode(language="python", source=_program(command), session=session))
    elif shell:
        request.command = " ".join(command)
    else:
        request.argv.extend(command)
    if stdin:
        request.stdin = _stdin()
    raise typer.Exit(_code(_follow(connection, request)))


def _follow(connection: Connection, request: StreamContainerExecRequest) -> Exec:
    """Print the output of a command as it comes; return its result.

    A signal ends the command, and is passed on; so does output that cannot be printed.
    """
    exec_ = Exec()
    events = connection.events(connection.execs.StreamContainerExec, request)
    with exit_on_signals():
        try:
            for event in events:
                if event.HasField("exec"):
                    exec_ = event.exec
                _print(event)
        except (KeyboardInterrupt, SystemExit, OSError) as ending:
            with suppress(ClientError, KeyboardInterrupt):
                _end(connection, exec_ if exec_.id else _started(events))
            if isinstance(ending, KeyboardInterrupt):
                raise typer.Exit(INTERRUPTED) from None
            if isinstance(ending, OSError) and not isinstance(ending, BrokenPipeError):
                raise ClientError(f"the output cannot be written: {ending.strerror}") from ending
            raise
    if not exec_.HasField("outcome"):
        raise ClientError("the connection ended before the command did")
    return exec_


def _started(events: Iterator[ExecEvent]) -> Exec:
    """Return the exec of a command once it is started, which may wait for memory: without its id it cannot be ended."""
    return next((event.exec for event in events if event.HasField("exec")), Exec())


def _end(connection: Connection, exec_: Exec) -> None:
    if exec_.id:
        named = CancelContainerExecRequest(container_id=exec_.container_id, exec_id=exec_.id)
        connection.ask(connection.execs.CancelContainerExec, named)


def _print(event: ExecEvent) -> None:
    for stream, text in ((sys.stdout, event.stdout), (sys.stderr, event.stderr)):
        if text:
            stream.write(text)
            stream.flush()


def _code(exec_: Exec) -> int:
    """Return the exit code for the outcome of a command; say how it ended if not by itself, and what is missing."""
    if exec_.session_restarted:
        typer.echo("the session has begun anew: its variables are gone", err=True)
    if exec_.truncated:
        typer.echo("the output is longer than what the service keeps: its end is missing", err=True)
    for skipped in exec_.skipped_files:
        typer.echo(f"skipped {skipped.path}: {skipped.reason}", err=True)
    outcome = exec_.outcome
    if outcome.HasField("exit_code"):
        return outcome.exit_code
    if outcome.type == "timeout":
        typer.echo("the command took too long and was ended", err=True)
        return TIMED_OUT
    raise ClientError(f"the command did not end by itself: {outcome.type}")


def _program(command: list[str]) -> str:
    if len(command) != 1:
        raise StartError("--python: expected one argument, the program")
    return _stdin() if command == ["-"] else command[0]


def _stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise StartError("stdin is not valid UTF-8; upload a file with `berth files` and read that instead") from None


def _variable(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise StartError(f"--env: must be NAME=VALUE, not '{text}'")
    return name, value
