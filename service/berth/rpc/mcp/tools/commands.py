"""The tools that run code in a container."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from berth.core.background import BackgroundTasks, shielded
from berth.core.paths import ROOT
from berth.rpc.call import Call
from berth.rpc.mcp.results import renamed, result, text_block
from berth.rpc.mcp.schemas import inputs, integer, list_of, shape, text, texts_by_name
from berth.rpc.mcp.tools.containers import CONTAINER_ID
from berth.rpc.mcp.tools.tool import CHANGES, Json, Tool, ToolCall
from berth.v1.container_exec_service_pb2 import (
    CancelContainerExecRequest,
    CreateContainerExecRequest,
    RetrieveContainerExecRequest,
)
from berth.v1.exec_pb2 import Exec

DEFAULT_OUTPUT_LENGTH = 20_000
"""How many characters of each stream are returned unless the model asks for more: they fill its context."""
MAX_OUTPUT_LENGTH = 1_048_576
_OPTIONS = {
    "timeout_ms": integer("After how many milliseconds the command is ended. Default: 60000.", minimum=1),
    "cwd": text(f"The folder in which the command starts. Default: {ROOT}."),
    "env": texts_by_name("Environment variables."),
    "stdin": text("The standard input. Default: empty."),
    "max_output_length": integer(
        "How many characters of stdout, and of stderr, to return; the middle of a longer text is left out. "
        f"Default: {DEFAULT_OUTPUT_LENGTH}.",
        minimum=1,
        maximum=MAX_OUTPUT_LENGTH,
    ),
}
_SESSION = text(
    "A name, such as 'default'. Runs with the same one in the same container share variables, imports and functions, "
    "as the cells of a notebook do, and show the value of the last line, and figures. Default: none."
)
_RESULT = shape(
    {
        "exec_id": text("The id of this run."),
        "outcome": shape(
            {
                "type": text(
                    "How it ended: 'exit' by itself, 'timeout', 'memory' (it used too much), 'disk' (its files were "
                    "too large or too many, none is stored), 'cancelled', or 'lost' (the service failed, nothing is "
                    "stored)."
                ),
                "exit_code": integer("The exit code, 0 for success. Only for the type 'exit'."),
            },
            required=["type"],
        ),
        "stdout": text("What it wrote to the standard output."),
        "stderr": text("What it wrote to the standard error."),
        "truncated": {"type": "boolean", "description": "Whether output is missing here."},
        "files": list_of(
            shape(
                {"path": text("The path."), "file_id": text("The id."), "bytes": integer("The size.")},
                required=["path", "file_id", "bytes"],
            ),
            "The files that it created or changed; read_file reads them.",
        ),
        "skipped_files": list_of(
            shape({"path": text("The path."), "reason": text("Why.")}, required=["path", "reason"]),
            "What was left out of the files of the container.",
        ),
        "displays": list_of(
            shape({"mime_type": text("The media type."), "file_id": text("The id of the file.")}),
            "Pictures that the code displayed; read_file reads them.",
        ),
        "network_refusals": list_of({"type": "string"}, "What it tried to reach over the network and may not."),
        "session_restarted": {
            "type": "boolean",
            "description": "Whether the session began anew, without the variables of the run before.",
        },
        "duration_ms": integer("How long it ran, in milliseconds."),
    },
    required=["exec_id", "outcome", "stdout", "stderr", "truncated", "files", "skipped_files"],
)
CUT_OFF = "The command printed more than is kept: the end of its output is missing."
_ABOUT_FILES = (
    f"The files of the container are in {ROOT}; what code creates or changes there is kept and named in the result, "
    "but no empty folder is. Other folders are empty again at the next run, and processes do not go on. There is no "
    "network, unless the container has a list of domains. One run at a time per container."
)


def command_tools(background: BackgroundTasks) -> list[Tool]:
    """Return the tools that run code; `background` ends it after a caller that wants so has disconnected."""

    async def run_command(arguments: Json, call: ToolCall) -> Json:
        return await _run(CreateContainerExecRequest(command=arguments.pop("command")), arguments, call, background)

    async def run_python(arguments: Json, call: ToolCall) -> Json:
        request = CreateContainerExecRequest()
        request.code.language, request.code.source = "python", arguments.pop("source")
        if "session" in arguments:
            request.code.session = arguments.pop("session")
        with renamed(code__source="source", code__session="session"):
            return await _run(request, arguments, call, background)

    return [
        Tool(
            "run_command",
            "Run a command",
            f"Runs a command with /bin/sh in a container and returns its output, exit code and files. {_ABOUT_FILES} "
            "A command that fails is no error of this tool: look at outcome.exit_code and stderr.",
            inputs(
                {"container_id": CONTAINER_ID, "command": text("The command line, such as 'wc -l *.csv'."), **_OPTIONS},
                required=["container_id", "command"],
            ),
            _RESULT,
            run_command,
            CHANGES,
        ),
        Tool(
            "run_python",
            "Run Python",
            "Runs a Python program in a container and returns what it printed, its exit code and files. Print what you "
            "want to see. Variables are gone at the next run and the value of the last line is not shown, unless you "
            f"name a session. Save pictures to files and look at them with read_file. {_ABOUT_FILES}",
            inputs(
                {"container_id": CONTAINER_ID, "source": text("The program."), "session": _SESSION, **_OPTIONS},
                required=["container_id", "source"],
            ),
            _RESULT,
            run_python,
            CHANGES,
        ),
    ]


async def _run(
    request: CreateContainerExecRequest, arguments: Json, call: ToolCall, background: BackgroundTasks
) -> Json:
    """Run what `request` has, with the other arguments, and return the result."""
    length = arguments.pop("max_output_length", DEFAULT_OUTPUT_LENGTH)
    request.MergeFrom(CreateContainerExecRequest(**arguments))
    work = _to_end(background if call.ends_with_caller else None)
    exec_ = await call.run("CreateContainerExec", request, work)
    described = _described(exec_, length)
    return result(described, text_block(_readable(described, exec_)))


def _to_end(background: BackgroundTasks | None) -> Callable[[Any, Call], Awaitable[Exec]]:
    """Return what runs a command to its end. With `background`, it is ended there if the caller disconnects."""

    async def work(request: Any, call: Call) -> Exec:
        starting = asyncio.ensure_future(call.execs.create_container_exec(call.caller, request))
        try:
            started = await shielded(starting)
            asked = RetrieveContainerExecRequest(container_id=started.container_id, exec_id=started.id)
            return await call.execs.retrieve_container_exec(call.caller, asked, is_awaited=True)
        except asyncio.CancelledError:
            if background is not None:
                background.start(_end(starting, call))
            raise

    return work


async def _end(starting: asyncio.Future[Exec], call: Call) -> None:
    """End a command, which may still wait for memory: its start goes on without its caller."""
    started = await starting
    named = CancelContainerExecRequest(container_id=started.container_id, exec_id=started.id)
    await call.execs.cancel_container_exec(call.caller, named)


def _described(exec_: Exec, length: int) -> Json:
    """Return the result of a command with at most `length` characters of each stream."""
    stdout, stderr = _shortened(exec_.stdout, length), _shortened(exec_.stderr, length)
    outcome: Json = {"type": exec_.outcome.type}
    if exec_.outcome.HasField("exit_code"):
        outcome["exit_code"] = exec_.outcome.exit_code
    return {
        "exec_id": exec_.id,
        "outcome": outcome,
        "stdout": stdout,
        "stderr": stderr,
        "truncated": exec_.truncated or stdout != exec_.stdout or stderr != exec_.stderr,
        "files": [{"path": file.path, "file_id": file.id, "bytes": file.bytes} for file in exec_.files],
        "skipped_files": [{"path": one.path, "reason": one.reason} for one in exec_.skipped_files],
        "displays": [{"mime_type": one.mime_type, "file_id": one.file_id} for one in exec_.displays],
        "network_refusals": list(exec_.network_refusals),
        **({"session_restarted": True} if exec_.session_restarted else {}),
        "duration_ms": exec_.duration_ms,
    }


def _shortened(text: str, length: int) -> str:
    """Return `text` without its middle if it has more than `length` characters: errors are at the end."""
    if len(text) <= length:
        return text
    head = length // 2
    tail = text[len(text) - (length - head) :]
    return f"{text[:head]}\n[... {len(text) - length} characters are left out ...]\n{tail}"


def _readable(described: Json, exec_: Exec) -> str:
    """Return the result of a command as a text for the model."""
    outcome = described["outcome"]
    ended = f"exit code {outcome['exit_code']}" if "exit_code" in outcome else outcome["type"]
    parts = [f"Ended: {ended}, after {described['duration_ms']} ms."]
    parts += ["The session began anew: its variables are gone."] if "session_restarted" in described else []
    parts += [f"{name}:\n{described[name]}" for name in ("stdout", "stderr") if described[name]]
    parts += [CUT_OFF] if exec_.truncated else []
    files = [f"- {file['path']} ({file['bytes']} bytes, {file['file_id']})" for file in described["files"]]
    parts += ["\n".join(["Files created or changed:", *files])] if files else []
    skipped = [f"- {one['path']}: {one['reason']}" for one in described["skipped_files"]]
    parts += ["\n".join(["Files left out:", *skipped])] if skipped else []
    refused = described["network_refusals"]
    parts += [f"Not allowed over the network: {', '.join(refused)}"] if refused else []
    return "\n\n".join(parts)
