"""The operations of the contract: their names in answers, scopes, kinds and audit events.

A method that is not in the table has no scope and is rejected for every caller.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Literal

Kind = Literal["read", "write", "content", "exec", "mcp"]


class Scope(Enum):
    """The resources that a request may touch; they are checked before its handler runs."""

    NEW_CONTAINER = "new container"
    """A container to be created, for the named provider or the default one."""
    ALL_CONTAINERS = "all containers"
    """The caller's containers, of the named provider or of all providers."""
    NEW_FILE = "new file"
    """A file to be created, for the named provider or the default one; the form alone may name the provider."""
    ALL_FILES = "all files"
    """The caller's files, of the named provider or of all providers."""
    FILE = "file"
    """The file with the id `file_id`; it must belong to the caller, and to the named provider if there is one."""
    USAGE = "usage"
    """The usage of the caller's tenant, of the named provider or of all."""
    CONTAINER = "container"
    """The container with the id `container_id`; it must belong to the caller, and to the named provider if any."""
    EXEC = "exec"
    """The same, for running commands in it."""
    TOOLS = "tools"
    """None by itself: the operations that its tools call have scopes of their own."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method: its name in answers, logs and headers, its scope, and the kind that limits apply to.

    `audit_event` is the event that it causes in the audit trail, None if it changes nothing. With `reports_itself`,
    what it starts writes its own events.
    """

    request_type: str
    scope: Scope | None
    kind: Kind = "read"
    audit_event: str | None = None
    reports_itself: bool = False


OPERATIONS = {
    "CreateContainer": Operation("container_create", Scope.NEW_CONTAINER, "write", "container.created"),
    "ListContainers": Operation("container_list", Scope.ALL_CONTAINERS),
    "RetrieveContainer": Operation("container_retrieve", Scope.CONTAINER),
    "DeleteContainer": Operation("container_delete", Scope.CONTAINER, "write", "container.deleted"),
    "CreateContainerFile": Operation("container_file_create", Scope.CONTAINER, "write", "container_file.created"),
    "ListContainerFiles": Operation("container_file_list", Scope.CONTAINER),
    "RetrieveContainerFile": Operation("container_file_retrieve", Scope.CONTAINER),
    "RetrieveContainerFileContent": Operation("container_file_content", Scope.CONTAINER, "content"),
    "DeleteContainerFile": Operation("container_file_delete", Scope.CONTAINER, "write", "container_file.deleted"),
    "CreateContainerExec": Operation("container_exec_create", Scope.EXEC, "exec", reports_itself=True),
    "StreamContainerExec": Operation("container_exec_stream", Scope.EXEC, "exec", reports_itself=True),
    "ListContainerExecs": Operation("container_exec_list", Scope.EXEC),
    "RetrieveContainerExec": Operation("container_exec_retrieve", Scope.EXEC),
    "FollowContainerExec": Operation("container_exec_follow", Scope.EXEC, "exec"),
    "CancelContainerExec": Operation("container_exec_cancel", Scope.EXEC, "write", "container_exec.cancelled"),
    "CreateFile": Operation("file_create", Scope.NEW_FILE, "write", "file.created"),
    "ListFiles": Operation("file_list", Scope.ALL_FILES),
    "RetrieveFile": Operation("file_retrieve", Scope.FILE),
    "RetrieveFileContent": Operation("file_content", Scope.FILE, "content"),
    "DeleteFile": Operation("file_delete", Scope.FILE, "write", "file.deleted"),
    "ListUsage": Operation("usage_list", Scope.USAGE),
    "SendMcpMessage": Operation("mcp", Scope.TOOLS, "mcp"),
}

REQUEST_TYPES = {
    re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower(): operation.request_type for name, operation in OPERATIONS.items()
}
"""The names in answers by backend method: `create_container` has the name `container_create`."""
