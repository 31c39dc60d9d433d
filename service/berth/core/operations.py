"""What is known about each method of the contract: its name in answers, and what a caller must own to use it.

A method that is not in the table has no reach and is open to nobody: whoever
adds one has to say here what it reaches.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Literal

Kind = Literal["read", "write", "content"]


class Reach(Enum):
    """What a request is about, and so what is checked before a handler sees it."""

    NEW_CONTAINER = "new container"
    """A container to be made, for the provider that is named or the default one."""
    ALL_CONTAINERS = "all containers"
    """The caller's containers, of the provider that is named or of all."""
    NEW_FILE = "new file"
    """A file to be made, for the provider that is named, maybe only in the form that brings it, or the default one."""
    ALL_FILES = "all files"
    """The caller's files, of the provider that is named or of all."""
    FILE = "file"
    """The file of `file_id`, in no container, which must be the caller's, and of the provider that is named, if any."""
    CONTAINER = "container"
    """The container of `container_id`, which must be the caller's, and of the provider that is named, if one is."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method: its name in answers, logs and headers, its reach, and the kind by which it is limited.

    `deed` is the event that the audit trail has of it, if it changes anything.
    """

    request_type: str
    reach: Reach | None
    kind: Kind = "read"
    deed: str | None = None


OPERATIONS = {
    "CreateContainer": Operation("container_create", Reach.NEW_CONTAINER, "write", "container.created"),
    "ListContainers": Operation("container_list", Reach.ALL_CONTAINERS),
    "RetrieveContainer": Operation("container_retrieve", Reach.CONTAINER),
    "DeleteContainer": Operation("container_delete", Reach.CONTAINER, "write", "container.deleted"),
    "CreateContainerFile": Operation("container_file_create", Reach.CONTAINER, "write", "container_file.created"),
    "ListContainerFiles": Operation("container_file_list", Reach.CONTAINER),
    "RetrieveContainerFile": Operation("container_file_retrieve", Reach.CONTAINER),
    "RetrieveContainerFileContent": Operation("container_file_content", Reach.CONTAINER, "content"),
    "DeleteContainerFile": Operation("container_file_delete", Reach.CONTAINER, "write", "container_file.deleted"),
    "CreateFile": Operation("file_create", Reach.NEW_FILE, "write", "file.created"),
    "ListFiles": Operation("file_list", Reach.ALL_FILES),
    "RetrieveFile": Operation("file_retrieve", Reach.FILE),
    "RetrieveFileContent": Operation("file_content", Reach.FILE, "content"),
    "DeleteFile": Operation("file_delete", Reach.FILE, "write", "file.deleted"),
}
