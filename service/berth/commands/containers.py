"""`berth containers`: manages containers over gRPC.

Commands that create something print only its id on stdout.
"""

from typing import Annotated, Literal

import typer

from berth.client.connection import Connection
from berth.client.listing import Listing
from berth.commands.items import AsJson, Everything, Limit, for_each, print_item, print_listing
from berth.commands.remote import ProviderName, provider_of, remote
from berth.v1.container_pb2 import CONTAINER_STATUS_EXPIRED, CONTAINER_STATUS_RUNNING, ExpiresAfter
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    ListContainersRequest,
    ListContainersResponse,
    RetrieveContainerRequest,
)

Status = Literal["running", "expired"]
_STATUSES = {None: None, "running": CONTAINER_STATUS_RUNNING, "expired": CONTAINER_STATUS_EXPIRED}
COLUMNS = ("id", "provider", "status", "expires_after", "bytes", "created_at", "last_active_at", "name")
_LESS_IMPORTANT = ("LAST ACTIVE", "EXPIRES AFTER", "CREATED", "SIZE", "PROVIDER", "STATUS")

containers = typer.Typer(help="Create, list, show and delete the containers of a running Berth.", no_args_is_help=True)


@containers.command("list")
@remote
def list_containers(
    connection: Connection,
    *,
    provider: ProviderName = None,
    name: Annotated[str | None, typer.Option(help="Only containers with exactly this name.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only containers with this status.")] = None,
    limit: Limit = 20,
    everything: Everything = False,
    as_json: AsJson = False,
) -> None:
    """List containers, newest first."""
    wanted = provider_of(provider)

    def fetch(size: int, after: str | None) -> ListContainersResponse:
        request = ListContainersRequest(
            provider=wanted, limit=size, after=after, name=name, status=_STATUSES.get(status), include=["bytes"]
        )
        return connection.ask(connection.containers.ListContainers, request)

    listing = Listing(fetch, None if everything else limit)
    print_listing(listing, COLUMNS, less_important=_LESS_IMPORTANT, as_json=as_json)


@containers.command()
@remote
def create(
    connection: Connection,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The container's name.")],
    *,
    provider: ProviderName = None,
    minutes: Annotated[int | None, typer.Option(min=1, help="The idle minutes after which it expires.")] = None,
    memory_limit: Annotated[str | None, typer.Option(metavar="SIZE", help="1g, 4g, 16g or 64g.")] = None,
    file_id: Annotated[list[str] | None, typer.Option(metavar="ID", help="A file to copy into it; repeatable.")] = None,
) -> None:
    """Create a container and print its id."""
    request = CreateContainerRequest(
        provider=provider_of(provider),
        name=name,
        expires_after=None if minutes is None else ExpiresAfter(anchor="last_active_at", minutes=minutes),
        memory_limit=memory_limit,
        file_ids=file_id or (),
    )
    typer.echo(connection.ask(connection.containers.CreateContainer, request).id)


@containers.command()
@remote
def show(
    connection: Connection,
    container_id: Annotated[str, typer.Argument(metavar="ID", help="The container's id.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show all fields of a container."""
    request = RetrieveContainerRequest(container_id=container_id)
    print_item(connection.ask(connection.containers.RetrieveContainer, request), as_json=as_json)


@containers.command()
@remote
def delete(
    connection: Connection,
    container_ids: Annotated[list[str], typer.Argument(metavar="ID", help="The containers' ids.")],
) -> None:
    """Delete containers and the files in them."""

    def act(container_id: str) -> None:
        connection.ask(connection.containers.DeleteContainer, DeleteContainerRequest(container_id=container_id))

    for_each(container_ids, act)
