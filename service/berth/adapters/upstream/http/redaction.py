"""Removes secrets from requests and responses before they are shown."""

from collections.abc import Collection

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.struct_pb2 import Value

REDACTED = "[redacted]"
_MAX_DEPTH = 32
_MIN_LENGTH = 4
"""Shorter secrets are redacted only where they are the whole text: they would match parts of ordinary words."""


def redact_text(text: str, secrets: Collection[str]) -> str:
    """Return `text` with `secrets` replaced by REDACTED."""
    for secret in secrets:
        if text == secret:
            return REDACTED
        if len(secret) >= _MIN_LENGTH:
            text = text.replace(secret, REDACTED)
    return text


def redact(value: object, secrets: Collection[str], *, depth: int = 0) -> object:
    """Return the JSON `value` with `secrets` replaced by REDACTED, and deeply nested values by "…"."""
    if isinstance(value, str):
        return redact_text(value, secrets)
    if depth == _MAX_DEPTH and isinstance(value, dict | list):
        return "…"
    if isinstance(value, dict):
        return {redact_text(name, secrets): redact(item, secrets, depth=depth + 1) for name, item in value.items()}
    if isinstance(value, list):
        return [redact(item, secrets, depth=depth + 1) for item in value]
    return value


def redacted_value(value: object, secrets: Collection[str]) -> Value:
    """Return the redacted JSON `value` as a Value, for `raw_request` and `raw_response`."""
    try:
        return ParseDict(redact(value, secrets), Value())  # type: ignore[arg-type] # accepts any JSON value
    except ParseError:  # a number that a Value cannot represent
        return Value(string_value="…")
