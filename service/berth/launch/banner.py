"""The banner that people see when Berth is ready."""

_TEXT = """
  Berth is ready.

    REST   {rest}
    gRPC   {grpc}
    key    {key}

  Create a container:

    curl {rest}/v1/containers{header} \\
      -H 'Content-Type: application/json' \\
      -d '{{"provider": "ollama", "name": "my-container"}}'

  Upload a file into it, with the returned id in place of ID:

    curl {rest}/v1/containers/ID/files{header} \\
      -F file=@README.md

  Stop with Ctrl-C.
"""
_TEXT_WITHOUT_REST = """
  Berth is ready.

    gRPC   {grpc}
    key    {key}

  Stop with Ctrl-C.
"""


def banner(*, grpc: str, rest: str | None, virtual_key: str | None, is_open: bool) -> str:
    """Return the banner: the addresses, the key, example requests, and how to stop.

    `virtual_key` is None if callers are configured or authentication is off; `is_open` says that it is off.
    """
    key = virtual_key or ("none is needed" if is_open else "one of your configuration")
    header = "" if is_open else f" \\\n      -H 'Authorization: Bearer {virtual_key or 'sk-bf-…'}'"
    text = _TEXT if rest else _TEXT_WITHOUT_REST
    return text.format(grpc=grpc, rest=rest, key=key, header=header)
