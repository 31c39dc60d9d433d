"""The programs of docs/agents.md, as they are there, with a model that follows a script."""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import pytest

from support.guides import blocks
from support.providers.model import ScriptedModel, scripted_model
from support.sandboxes.needed import needs_sandbox
from support.servers.background import in_background
from support.servers.berth import Berth, environment

SQUARES = """
ends = [n * n for n in range(1, 101) if n * n % 10 == 6]
open("squares.csv", "w").write("\\n".join(map(str, ends)))
print(len(ends))
"""
pytestmark = needs_sandbox


def program(heading: str) -> str:
    """Return the program below a heading of the guide."""
    return blocks("docs/agents.md", "python", under=heading)[0]


def run(berth: Berth, heading: str, *calls: Mapping[str, Any]) -> tuple[str, ScriptedModel]:
    """Run a program with a model that makes these calls; return what it prints, and the model."""
    with in_background(scripted_model(*calls)) as model:
        variables = environment() | {
            "MODEL_URL": model.url,
            "MODEL_KEY": "sk-model",
            "MODEL": "scripted",
            "BERTH_URL": f"{berth.rest}/v1",
            "KEY": berth.virtual_key or "",
            "OPENAI_AGENTS_DISABLE_TRACING": "true",
        }
        done = subprocess.run(
            [sys.executable, "-c", program(heading)],
            env=variables,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return done.stdout, model


def test_a_loop_of_your_own(newcomer: Berth) -> None:
    """The model sees that its first try failed, mends it, and its file is there in the end."""
    tries = [{"name": "run_python", "arguments": {"source": source}} for source in ("1 / 0", SQUARES)]
    printed, model = run(newcomer, "A loop of your own", *tries)
    first, second = map(json.loads, model.results)
    assert (first["outcome"]["exit_code"], "ZeroDivisionError" in first["stderr"]) == (1, True)
    assert (second["outcome"]["exit_code"], second["stdout"]) == (0, "20\n")
    assert re.fullmatch(r"It was done in 2 steps\.\n/mnt/data/squares\.csv \d+\n", printed)


@pytest.mark.skipif(find_spec("agents") is None, reason="the OpenAI Agents SDK is not installed")
def test_the_agents_sdk(newcomer: Berth) -> None:
    """The model gets output and exit code of each command in the form of the Responses API."""
    commands = {"commands": ["wc -l < /etc/passwd", "exit 3"], "timeout_ms": 10_000, "max_output_length": 4096}
    printed, model = run(newcomer, "OpenAI Agents SDK", {"type": "shell_call", "action": commands})
    ((first, second),) = model.results
    assert (first["stdout"], first["outcome"]) == ("2\n", {"type": "exit", "exit_code": 0})
    assert second["outcome"] == {"type": "exit", "exit_code": 3}
    assert printed == "It was done in 1 steps.\n"


@pytest.mark.skipif(find_spec("langchain") is None, reason="LangChain is not installed")
def test_langchain(newcomer: Berth) -> None:
    """The model gets the output of its command as text."""
    printed, model = run(newcomer, "LangChain", {"name": "run_command", "arguments": {"command": "expr 6 '*' 7"}})
    assert model.results == ["{'type': 'exit', 'exit_code': 0}\n42\n"]
    assert printed == "It was done in 1 steps.\n"


@pytest.mark.skipif(find_spec("agents") is None, reason="the OpenAI Agents SDK is not installed")
def test_mcp(newcomer: Berth) -> None:
    """The SDK finds the tools by itself, and the model gets their results."""
    create = {"name": "create_container", "arguments": json.dumps({"name": "today"})}
    printed, model = run(newcomer, "MCP", {"type": "function_call", **create})
    (result,) = model.results
    assert "cntr_" in str(result)
    assert printed == "It was done in 1 steps.\n"
