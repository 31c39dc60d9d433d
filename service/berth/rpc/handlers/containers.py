"""The handlers of ContainerService."""

from berth.rpc.call import Call
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
    """Handles ContainerService. Each method calls the backend that admission chose and returns its response."""

    async def CreateContainer(self, request: CreateContainerRequest, call: Call) -> Container:
        """Create a container for the provider that the request names, or the default provider."""
        return await call.containers.create_container(call.caller, request)

    async def ListContainers(self, request: ListContainersRequest, call: Call) -> ListContainersResponse:
        """Return a page of containers."""
        return await call.containers.list_containers(call.caller, request)

    async def RetrieveContainer(self, request: RetrieveContainerRequest, call: Call) -> Container:
        """Return a container."""
        return await call.containers.retrieve_container(call.caller, request)

    async def DeleteContainer(self, request: DeleteContainerRequest, call: Call) -> DeleteContainerResponse:
        """Delete a container."""
        return await call.containers.delete_container(call.caller, request)
