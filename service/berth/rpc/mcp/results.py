"""The results of tools: what a model reads, and the same for programs."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from berth.core.errors import (
    BerthError,
    ContainerBusyError,
    ContainerExpiredError,
    ExecUnsupportedError,
    InvalidRequestError,
    NotFoundError,
)
from berth.rpc.status import row_of

Json = dict[str, Any]

ERROR = "berth.v1/error"
"""The key in `_meta` under which programs find an error's code, parameter and HTTP status."""
_ADVICE: Mapping[type[BerthError], str] = {
    ContainerBusyError: "Wait until it has ended, or use another container.",
    ContainerExpiredError: "Create another one with create_container.",
    ExecUnsupportedError: "Files can still be written and read.",
    NotFoundError: "See list_containers and list_files for what there is.",
}
"""What a model can do about an error that does not say so itself."""


def dump(value: object) -> str:
    """Return a value as JSON, in one line."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def text_block(text: str) -> Json:
    """Return a text as content of a result."""
    return {"type": "text", "text": text}


def picture_block(base64: str, media_type: str) -> Json:
    """Return a picture as content of a result."""
    return {"type": "image", "data": base64, "mimeType": media_type}


def result(structured: Json, *content: Json) -> Json:
    """Return a result; what is in it is also its text, unless there is `content` of another kind."""
    return {"content": list(content) or [text_block(dump(structured))], "structuredContent": structured}


def error_result(error: BerthError) -> Json:
    """Return the result of a tool that failed with an error that the model should read."""
    advice = next((_ADVICE[kind] for kind in type(error).__mro__ if kind in _ADVICE), "")
    row = row_of(error)
    details = {
        "code": error.code or row.code or error.reason or row.reason,
        "param": error.param,
        "status_code": row.http,
        "retry_after_seconds": error.retry_after_seconds,
    }
    known = {name: value for name, value in details.items() if value is not None}
    text = f"{error.message} {advice}".strip()
    return {"content": [text_block(text)], "isError": True, "_meta": {ERROR: known}}


@contextmanager
def renamed(**names: str) -> Iterator[None]:
    """Name parameters in errors as the tool calls them: its name by the one in the contract, `__` for a dot."""
    try:
        yield
    except InvalidRequestError as error:
        for name, shown in names.items():
            before = name.replace("__", ".")
            if error.param == before:
                error.param = shown
                error.message = error.message.replace(before, shown)
        raise
