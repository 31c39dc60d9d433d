"""What may be shown of a request or an answer: everything but its secrets."""

from collections.abc import Collection

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Value

REDACTED = "[redacted]"
_MAX_DEPTH = 32
_SHORT = 4
"""Secrets of fewer characters are only taken out where they are a whole text: they are parts of any other."""


def scrubbed(text: str, secrets: Collection[str]) -> str:
    """Return `text` without any of `secrets`."""
    for secret in secrets:
        if text == secret:
            return REDACTED
        if len(secret) >= _SHORT:
            text = text.replace(secret, REDACTED)
    return text


def without_secrets(value: object, secrets: Collection[str], *, depth: int = 0) -> object:
    """Return the JSON `value` without any of `secrets`, and without what is nested too deep to be shown."""
    if isinstance(value, str):
        return scrubbed(value, secrets)
    if depth == _MAX_DEPTH and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {
            scrubbed(name, secrets): without_secrets(item, secrets, depth=depth + 1) for name, item in value.items()
        }
    if isinstance(value, list):
        return [without_secrets(item, secrets, depth=depth + 1) for item in value]
    return value


def shown(value: object, secrets: Collection[str]) -> Value:
    """Return the JSON `value`, without `secrets`, as it stands in `raw_request` and `raw_response`."""
    try:
        return ParseDict(without_secrets(value, secrets), Value())  # type: ignore[arg-type] # any JSON value will do
    except ParseError:  # a number that is none
        return Value(string_value="…")
