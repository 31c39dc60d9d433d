"""What a tenant owns: finding and listing its containers, whoever keeps them."""

from collections.abc import Callable

from berth.core.caller import Caller
from berth.core.checks import missing
from berth.core.errors import NotFoundError
from berth.core.lifetime import expires_at, status_at
from berth.core.paging import paging
from berth.core.stores import ContainerRecord, ContainerStore
from berth.v1.container_pb2 import (
    CONTAINER_STATUS_ACTIVE,
    CONTAINER_STATUS_EXPIRED,
    CONTAINER_STATUS_RUNNING,
    Container,
)
from berth.v1.container_service_pb2 import ListContainersRequest, ListContainersResponse
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

_ALIVE = frozenset({CONTAINER_STATUS_RUNNING, CONTAINER_STATUS_ACTIVE})


class Catalogue:
    """The containers of all tenants, seen by one caller at a time; `now` gives seconds since 1970."""

    def __init__(self, store: ContainerStore, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    async def container(self, caller: Caller, container_id: str, *, provider: Provider) -> ContainerRecord:
        """Return the caller's container, of `provider` if that is set.

        InvalidRequestError for an empty id, NotFoundError if there is none,
        PermissionDeniedError if the caller may not use its provider.
        """
        if not container_id:
            raise missing("container_id")
        record = await self._store.get_container(caller.tenant, container_id)
        if provider not in (record.provider, PROVIDER_UNSPECIFIED):
            raise NotFoundError(f"Container {container_id} not found.")
        caller.require(record.provider)
        return record

    async def containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of the caller's containers, of all providers that it may use if none is named."""
        page = await self._store.list_containers(
            caller.tenant,
            paging(request),
            providers=frozenset({request.provider}) if request.provider else caller.providers,
            name=request.name if request.HasField("name") else None,
        )
        containers = [self.shown(record) for record in page.data]
        response = ListContainersResponse(object="list", data=containers, has_more=page.has_more)
        if containers:
            response.first_id, response.last_id = containers[0].id, containers[-1].id
        if request.provider:
            response.extra_fields.provider = request.provider
        return response

    def shown(self, record: ContainerRecord) -> Container:
        """Return a container with its status of now.

        That of a hosted one is the clock's to tell. A provider's keeps what the
        provider said last, unless the clock says that it must have expired since.
        """
        container = record.container
        if not record.key:
            container.status = status_at(self._now(), expires_at=expires_at(container))
        elif container.status in _ALIVE and _has_expired(container, self._now()):
            container.status = CONTAINER_STATUS_EXPIRED
        return container


def _has_expired(container: Container, now: int) -> bool:
    """Tell whether a container was idle for too long, as far as its provider says how long that is."""
    told = container.HasField("last_active_at") and container.expires_after.HasField("minutes")
    return told and now > expires_at(container)
