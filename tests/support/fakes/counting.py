"""A Backend that counts, for tests of what wraps one."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import cast

from berth.core.background import BackgroundTasks
from berth.core.caller import Caller
from berth.core.errors import BerthError, NotFoundError
from berth.core.ports.backend import Backend, BeforeCommit, Upload, nothing
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import (
    DeleteContainerFileRequest,
    DeleteContainerFileResponse,
    RetrieveContainerFileRequest,
)
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import DeleteContainerRequest, DeleteContainerResponse, RetrieveContainerRequest
from berth.v1.extra_fields_pb2 import ExtraFields
from berth.v1.provider_pb2 import Provider

UPSTREAM_MILLISECONDS = 7


@dataclass
class CountingBackend:
    """Containers that exist until they are deleted, and count their writes; the file of each counts with it.

    A container's name and a file's path are that count, `count` tells it, and
    `calls` counts the calls. While `gated`, each call waits at a gate before it
    takes effect and at another one behind that: `gates` are those that are shut
    now. A write that has begun takes effect even if its caller goes away.
    `error`, if there is one, is raised instead of an effect.
    """

    shown: Container = field(default_factory=Container)
    calls: Counter[str] = field(default_factory=Counter)
    gated: bool = False
    gates: list[asyncio.Future[None]] = field(default_factory=list)
    error: BerthError | None = None
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    _deleted: set[tuple[str, str]] = field(default_factory=set)

    def as_backend(self) -> Backend:
        """Return this as a Backend, most of which it is."""
        return cast("Backend", self)

    def count(self, tenant: str, container_id: str) -> int | None:
        """Return how often a container was written to; None if it is deleted."""
        place = (tenant, container_id)
        return None if place in self._deleted else self._counts[place]

    async def retrieve_container(self, caller: Caller, request: RetrieveContainerRequest) -> Container:
        """Return a container as `shown`, with its count."""
        count = await self._read("retrieve_container", caller, request.container_id)
        container = Container(id=request.container_id, name=str(count), extra_fields=_extra_fields())
        container.MergeFrom(self.shown)
        return container

    async def retrieve_container_file(self, caller: Caller, request: RetrieveContainerFileRequest) -> ContainerFile:
        """Return a file, whatever its id, with the count of its container."""
        count = await self._read("retrieve_container_file", caller, request.container_id)
        return ContainerFile(id=request.file_id, path=str(count), extra_fields=_extra_fields())

    async def create_container_file(
        self, caller: Caller, upload: Upload, *, before_commit: BeforeCommit = nothing
    ) -> ContainerFile:
        """Count a write."""
        await before_commit()
        await self._write("create_container_file", caller, upload.container_id)
        return ContainerFile(container_id=upload.container_id)

    async def delete_container_file(
        self, caller: Caller, request: DeleteContainerFileRequest
    ) -> DeleteContainerFileResponse:
        """Count a write."""
        await self._write("delete_container_file", caller, request.container_id)
        return DeleteContainerFileResponse(id=request.file_id)

    async def delete_container(self, caller: Caller, request: DeleteContainerRequest) -> DeleteContainerResponse:
        """Delete a container for good."""
        await self._write("delete_container", caller, request.container_id)
        return DeleteContainerResponse(id=request.container_id)

    async def _read(self, call: str, caller: Caller, container_id: str) -> int:
        self.calls[call] += 1
        await self._gate()
        count = self._existing(caller.tenant, container_id)
        await self._gate()
        return count

    async def _write(self, call: str, caller: Caller, container_id: str) -> None:
        self.calls[call] += 1
        effect = self._effect(caller.tenant, container_id, deletes=call == "delete_container")
        await BackgroundTasks().finish(effect)
        await self._gate()

    async def _effect(self, tenant: str, container_id: str, *, deletes: bool) -> None:
        await self._gate()
        self._existing(tenant, container_id)
        self._counts[tenant, container_id] += 1
        if deletes:
            self._deleted.add((tenant, container_id))

    def _existing(self, tenant: str, container_id: str) -> int:
        if self.error is not None:
            raise self.error
        if (tenant, container_id) in self._deleted:
            raise NotFoundError(f"Container {container_id} not found.")
        return self._counts[tenant, container_id]

    async def _gate(self) -> None:
        if not self.gated:
            return
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        try:
            await gate
        finally:
            self.gates.remove(gate)


def _extra_fields() -> ExtraFields:
    return ExtraFields(provider=Provider.PROVIDER_OPENAI, upstream_latency=UPSTREAM_MILLISECONDS)


def running_until(last_active_at: int, *, minutes: int) -> Container:
    """Return what a container shows that is running and will expire."""
    container = Container(status=ContainerStatus.CONTAINER_STATUS_RUNNING, last_active_at=last_active_at)
    container.expires_after.minutes = minutes
    return container
