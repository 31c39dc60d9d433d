"""What the suites of Backend work on: a backend and its clock, and its operations by name."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest

from berth.core.caller import Caller
from berth.core.errors import BerthError
from berth.core.ports.backend import Backend, Content
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    ListContainerFilesRequest,
    RetrieveContainerFileContentRequest,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import Container, ExpiresAfter
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
)
from berth.v1.extra_fields_pb2 import ExtraFields
from berth.v1.provider_pb2 import Provider
from support.fakes.stores import FixedClock
from support.fakes.uploads import GivenUpload

Answer = TypeVar("Answer", Container, ContainerFile)

OLLAMA, GROQ = Provider.PROVIDER_OLLAMA, Provider.PROVIDER_GROQ
NONE = Provider.PROVIDER_UNSPECIFIED
OURS, THEIRS = Caller("ours", "first"), Caller("theirs", "second")
ONLY_GROQ = Caller("ours", "only-groq", frozenset({GROQ}))
EXPIRY = ExpiresAfter(anchor="last_active_at", minutes=1)


@dataclass(frozen=True)
class Subject:
    """A backend under test, and the clock it goes by."""

    backend: Backend
    clock: FixedClock

    async def container(self, name: str = "box", *, caller: Caller = OURS, provider: Provider = OLLAMA) -> str:
        request = CreateContainerRequest(name=name, provider=provider, expires_after=EXPIRY)
        return (await self.backend.create_container(caller, request)).id

    async def content(
        self, container_id: str, file_id: str, *, offset: int | None = None, length: int | None = None
    ) -> Content:
        request = RetrieveContainerFileContentRequest(
            container_id=container_id, file_id=file_id, offset=offset, length=length
        )
        return await self.backend.retrieve_container_file_content(OURS, request)

    async def listed(self, caller: Caller = OURS, *, provider: Provider = NONE, name: str | None = None) -> list[str]:
        page = await self.backend.list_containers(caller, ListContainersRequest(provider=provider, name=name))
        return [container.name for container in page.data]


async def _opened(backend: Backend, caller: Caller, request: RetrieveContainerFileContentRequest) -> None:
    """Open a file, and read nothing of it."""
    (await backend.retrieve_container_file_content(caller, request)).close()


Operation = Callable[[Backend, Caller, str, str, Provider], Awaitable[object]]
READS: dict[str, Operation] = {
    "list_container_files": lambda backend, caller, container, _, provider: backend.list_container_files(
        caller, ListContainerFilesRequest(container_id=container, provider=provider)
    ),
    "retrieve_container_file": lambda backend, caller, container, file, provider: backend.retrieve_container_file(
        caller, RetrieveContainerFileRequest(container_id=container, file_id=file, provider=provider)
    ),
    "retrieve_container_file_content": lambda backend, caller, container, file, provider: _opened(
        backend,
        caller,
        RetrieveContainerFileContentRequest(container_id=container, file_id=file, provider=provider),
    ),
}
WRITES: dict[str, Operation] = {
    "create_container_file": lambda backend, caller, container, _, provider: backend.create_container_file(
        caller, GivenUpload(container, provider=provider)
    ),
    "delete_container_file": lambda backend, caller, container, file, provider: backend.delete_container_file(
        caller, DeleteContainerFileRequest(container_id=container, file_id=file, provider=provider)
    ),
}
WHOLES: dict[str, Operation] = {
    "retrieve_container": lambda backend, caller, container, _, provider: backend.retrieve_container(
        caller, RetrieveContainerRequest(container_id=container, provider=provider)
    ),
    "delete_container": lambda backend, caller, container, _, provider: backend.delete_container(
        caller, DeleteContainerRequest(container_id=container, provider=provider)
    ),
}
OPERATIONS = READS | WRITES | WHOLES


def plain(answer: Answer) -> Answer:
    """Return an answer without what its extra_fields are free to say: all but the provider."""
    said = ExtraFields(provider=answer.extra_fields.provider)
    answer.extra_fields.CopyFrom(said)
    return answer


async def refused(operation: Awaitable[object]) -> BerthError:
    with pytest.raises(BerthError) as caught:
        await operation
    return caught.value
