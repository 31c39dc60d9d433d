"""The examples of the documents, unchanged."""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from support.servers.berth import Berth, environment

ROOT = Path(__file__).parents[2]


def blocks(document: str, language: str, *, under: str = "") -> list[str]:
    """Return the code blocks of a language in a document, or below the heading `under` of it, in their order."""
    text = (ROOT / document).read_text()
    if under:
        found = re.search(rf"^## {re.escape(under)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
        assert found is not None, f"{document} has no section {under}"
        text = found[1]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def addressed(text: str, berth: Berth) -> str:
    """Return an example with the addresses of `berth` in place of the default ones."""
    return text.replace("127.0.0.1:8080", urlsplit(berth.rest).netloc).replace("127.0.0.1:50051", berth.grpc)


def variables(berth: Berth) -> dict[str, str]:
    """Return the environment of an example: the first key, as documents call it and as SDKs do."""
    key = berth.virtual_key or ""
    return environment() | {"KEY": key, "OPENAI_API_KEY": key, "OPENAI_BASE_URL": f"{berth.rest}/v1"}


def run(berth: Berth, program: Sequence[str], text: str, *, folder: Path | None = None) -> str:
    """Run an example, which is the last argument of `program`, against `berth`; return what it prints."""
    return execute(berth, [*program, addressed(text, berth)], folder=folder or berth.log.parent)


def execute(berth: Berth, command: Sequence[str], *, folder: Path, path: str = "", seconds: float = 60) -> str:
    """Run a command with the variables of an example, and with the folder `path` on PATH; return what it prints."""
    env = variables(berth)
    env["PATH"] = f"{path}{os.pathsep}{env['PATH']}" if path else env["PATH"]
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
