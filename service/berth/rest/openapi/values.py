"""Example values of parameters and of forms; ids and times are those of the example answers."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from berth.rest.openapi.examples import CONTAINER_FILE_ID, CONTAINER_ID, EXEC_ID, FILE_ID, PROVIDER, last_id

CONTENT = "hello\n"
"""A whole file as it is uploaded and downloaded."""
PART = CONTENT[:4]
"""The part of it that the example of `Range` asks for."""
_PATHS_WITH_CONTAINER = "ContainerFile"
_SEQUENCE = 2

_VALUES: Mapping[str, Any] = {
    "container_id": CONTAINER_ID,
    "exec_id": EXEC_ID,
    "provider": PROVIDER,
    "limit": 50,
    "order": "asc",
    "name": "my-container",
    "status": "running",
    "include": ["bytes"],
    "file_path": "hello.txt",
    "filename": "hello.txt",
    "content_type": "text/plain",
    "purpose": "user_data",
    "expires_after.anchor": "created_at",
    "expires_after.seconds": 86_400,
    "offset": 0,
    "length": len(PART),
    "key": "ci",
    "since": "2026-11-01",
    "until": "2026-11-30",
}


def example_value(field: FieldDescriptor, name: str, *, is_in: str) -> Any:
    """Return the example of the parameter with this name."""
    method = field.full_name.split(".")[-2].removesuffix("Request")
    if name == "after":
        return _SEQUENCE if method == "FollowContainerExec" else last_id(method)
    if name == "file_id":
        is_in_container = is_in == "path" and _PATHS_WITH_CONTAINER in method
        return CONTAINER_FILE_ID if is_in_container else FILE_ID
    return _VALUES[name]
