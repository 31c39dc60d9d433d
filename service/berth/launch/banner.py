"""What a person reads when Berth is ready."""

_TEXT = """
  Berth is ready.

    REST   {rest}
    gRPC   {grpc}
    key    {key}

  Make a container:

    curl {rest}/v1/containers{header} \\
      -H 'Content-Type: application/json' \\
      -d '{{"provider": "ollama", "name": "my-container"}}'

  Put a file into it, with the id that you got for ID:

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
    """Return both addresses, how to call, and how to stop.

    Without `virtual_key` the callers are those of the configuration; `is_open`
    says that nobody needs a key.
    """
    key = virtual_key or ("none is needed" if is_open else "one of your configuration")
    header = "" if is_open else f" \\\n      -H 'Authorization: Bearer {virtual_key or 'sk-bf-…'}'"
    text = _TEXT if rest else _TEXT_WITHOUT_REST
    return text.format(grpc=grpc, rest=rest, key=key, header=header)
