"""The handlers of ContainerService."""

from berth.core.backend import Backend
from berth.core.router import Router
from berth.rpc.call import Call, NamesContainer
from berth.v1.container_pb2 import Container
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    DeleteContainerResponse,
    ListContainersRequest,
    ListContainersResponse,
    RetrieveContainerRequest,
)


class ContainerHandlers:
    """Each picks a backend, awaits one call of it, and hands back the message."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def CreateContainer(self, request: CreateContainerRequest, call: Call) -> Container:
        """Make a container for the provider that is named, or the default one."""
        request.provider = self._router.provider_for_new(call.provider_of(request))
        backend = self._router.backend(call.caller, call.provider_of(request))
        return await backend.create_container(call.caller, request)

    async def ListContainers(self, request: ListContainersRequest, call: Call) -> ListContainersResponse:
        """Return a page of containers."""
        backend = self._router.backend(call.caller, call.provider_of(request))
        return await backend.list_containers(call.caller, request)

    async def RetrieveContainer(self, request: RetrieveContainerRequest, call: Call) -> Container:
        """Return a container."""
        backend = await self._backend_of(request, call)
        return await backend.retrieve_container(call.caller, request)

    async def DeleteContainer(self, request: DeleteContainerRequest, call: Call) -> DeleteContainerResponse:
        """Delete a container."""
        backend = await self._backend_of(request, call)
        return await backend.delete_container(call.caller, request)

    async def _backend_of(self, request: NamesContainer, call: Call) -> Backend:
        named = call.provider_of(request)
        call.provider, backend = await self._router.backend_of(call.caller, named, container_id=request.container_id)
        return backend
