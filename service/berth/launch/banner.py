"""The banner that people see when Berth is ready."""

import shlex
from pathlib import Path

_TEXT = """
  Berth is ready.

    REST   {rest}
    pages  {rest}/console and {rest}/docs
    gRPC   {grpc}
    key    {key}

  Create a container:

    curl {rest}/v1/containers{header} \\
      -H 'Content-Type: application/json' \\
      -d '{{"provider": "ollama", "name": "my-container"}}'
{run}
  Stop with Ctrl-C.
"""
_RUN = """
  Run Python in it, with the returned id in place of ID:

    curl {rest}/v1/containers/ID/execs{header} \\
      -H 'Content-Type: application/json' \\
      -d '{{"code": {{"language": "python", "source": "print(6 * 7)"}}}}'
"""
_TEXT_WITHOUT_REST = """
  Berth is ready.

    gRPC   {grpc}
    key    {key}

  Stop with Ctrl-C.
"""


def banner(
    *, grpc: str, rest: str | None, virtual_key: str | None, key_file: Path | None, is_open: bool, runs_code: bool
) -> str:
    """Return the banner: the addresses, the key, example requests, and how to stop.

    `key_file` has the first key, None if callers are configured or authentication is off. `virtual_key` is that key,
    None if it must not be shown. `is_open` says that authentication is off, `runs_code` that commands are not.
    """
    key, header = _key(virtual_key, key_file, is_open=is_open)
    text = _TEXT if rest else _TEXT_WITHOUT_REST
    run = _RUN.format(rest=rest, header=header) if runs_code else ""
    return text.format(grpc=grpc, rest=rest, key=key, header=header, run=run)


def _key(virtual_key: str | None, key_file: Path | None, *, is_open: bool) -> tuple[str, str]:
    """Return where to find the key, and the option of curl that sends it."""
    if is_open:
        return "none is needed", ""
    if virtual_key:
        key, value = virtual_key, f"'Authorization: Bearer {virtual_key}'"
    elif key_file:
        key, value = f"in the file {key_file}", f'"Authorization: Bearer $(cat {shlex.quote(str(key_file))})"'
    else:
        key, value = "one of your configuration", "'Authorization: Bearer sk-bf-…'"
    return key, f" \\\n      -H {value}"
