"""Ownership of containers: finds and lists the containers of a tenant, hosted or passthrough."""

from collections.abc import Callable

from berth.core.caller import Caller
from berth.core.enum_names import short_names
from berth.core.lifetime import current_status
from berth.core.limits import limits_of
from berth.core.pagination import page_of, read_pagination
from berth.core.ports.container_store import ContainerRecord, ContainerStore
from berth.core.validation import check_choice, container_not_found, missing, unexpected
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, CONTAINER_STATUS_RUNNING, Container, ContainerStatus
from berth.v1.container_service_pb2 import ListContainersRequest, ListContainersResponse
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider

STATUS_NAMES = {number: name for name, number in short_names(ContainerStatus.DESCRIPTOR).items()}
STATUS_FILTERS = {status: STATUS_NAMES[status] for status in (CONTAINER_STATUS_RUNNING, CONTAINER_STATUS_EXPIRED)}
"""The statuses that a list of containers can be filtered by, and their names."""


class ContainerOwnership:
    """Finds the containers of one caller at a time; `now` returns seconds since 1970."""

    def __init__(self, store: ContainerStore, now: Callable[[], int]) -> None:
        self._store = store
        self._now = now

    async def container(
        self, caller: Caller, container_id: str, *, provider: Provider, at: Provider = PROVIDER_UNSPECIFIED
    ) -> ContainerRecord:
        """Return the caller's container, of `provider` if that is set; only one that is kept `at` a provider if set.

        InvalidRequestError for an empty id; NotFoundError if there is none; PermissionDeniedError
        if the caller may not use its provider.
        """
        if not container_id:
            raise missing("container_id")
        record = await self._store.get_container(caller.tenant, container_id, at)
        caller.require_match(record.provider, named=provider, not_found=lambda: container_not_found(container_id))
        return record

    async def containers(self, caller: Caller, request: ListContainersRequest) -> ListContainersResponse:
        """Return a page of the caller's containers, of all providers that it may use if none is named."""
        with_bytes = includes_bytes(request)
        page = await self._store.list_containers(
            caller.tenant,
            read_pagination(request),
            providers=frozenset({request.provider}) if request.provider else caller.providers,
            name=request.name or None,
            status=_wanted_status(request),
        )
        containers = [self._listed(record, with_bytes=with_bytes) for record in page.data]
        response = page_of(ListContainersResponse, containers, has_more=page.has_more)
        if request.provider:
            response.extra_fields.provider = request.provider
        return response

    def _listed(self, record: ContainerRecord, *, with_bytes: bool) -> Container:
        """Return a container as an item of a list; a provider does not say how large its containers are."""
        container = self.with_status(record)
        if with_bytes and not record.key:
            container.bytes = record.bytes
        return container

    def with_status(self, record: ContainerRecord) -> Container:
        """Return a container with its provider and its current status."""
        container = record.container
        status = current_status(
            container.status,
            is_hosted=not record.key,
            last_active_at=container.last_active_at,
            minutes=container.expires_after.minutes,
            now=self._now(),
        )
        if status:
            container.status = status
        container.provider = record.provider
        return container


def includes_bytes(request: ListContainersRequest) -> bool:
    """Return whether containers are listed with their sizes. InvalidRequestError for another value of `include`."""
    values = limits_of(ListContainersRequest, "include").items.values
    included = [check_choice(value, "include", choices=values) for value in request.include if value]
    return "bytes" in included


def _wanted_status(request: ListContainersRequest) -> ContainerStatus | None:
    """Return the status to filter by, None for all. InvalidRequestError for a status that is not a filter."""
    if not request.status:
        return None
    if request.status not in STATUS_FILTERS:
        raise unexpected(
            str(STATUS_NAMES.get(request.status, request.status)), "status", choices=STATUS_FILTERS.values()
        )
    return request.status
