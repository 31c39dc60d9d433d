"""The tools that create, list and delete containers."""

from collections.abc import Callable
from typing import Any

from berth.core.caller import Caller
from berth.core.enum_names import short_names
from berth.core.hosted.container_rules import MEMORY_LIMITS
from berth.core.limits import limits_of
from berth.core.paths import ROOT
from berth.core.providers import PROVIDER_NAMES, parse_provider
from berth.rpc.call import Call
from berth.rpc.mcp.results import renamed, result
from berth.rpc.mcp.schemas import inputs, integer, list_of, shape, text
from berth.rpc.mcp.tools.tool import CHANGES, READS, Json, Tool, ToolCall
from berth.v1.container_pb2 import Container, ContainerStatus
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    DeleteContainerRequest,
    DeleteContainerResponse,
    ListContainersRequest,
    ListContainersResponse,
)
from berth.v1.provider_pb2 import Provider

ChooseProvider = Callable[[Caller], Provider]
"""Returns the provider of a container that is created without naming one."""
DEFAULT_NAME = "sandbox"
MAX_CONTAINERS = limits_of(ListContainersRequest, "limit").maximum
CONTAINER_ID = text("The id of the container, as create_container returned it.")
_STATUSES = {number: name for name, number in short_names(ContainerStatus.DESCRIPTOR).items()}
_CONTAINER = shape(
    {
        "container_id": text("The id, which all other tools take."),
        "name": text("The name."),
        "provider": text("The provider."),
        "status": text("'running', or 'expired': then its files are gone."),
        "created_at": integer("When it was created, in seconds since 1970."),
        "expires_after_minutes": integer("After how many idle minutes it expires."),
        "memory_limit": text("The memory of commands in it."),
    },
    required=["container_id", "name", "provider", "status"],
)


def container_tools(choose_provider: ChooseProvider) -> list[Tool]:
    """Return the tools for containers; `choose_provider` is for those that are created without naming a provider."""

    async def create(arguments: Json, call: ToolCall) -> Json:
        request = CreateContainerRequest(name=arguments.get("name", DEFAULT_NAME))
        if "provider" in arguments:
            request.provider = parse_provider(arguments["provider"])
        else:
            request.provider = call.provider or choose_provider(call.within.caller)
        if "expires_after_minutes" in arguments:
            request.expires_after.anchor = "last_active_at"
            request.expires_after.minutes = arguments["expires_after_minutes"]
        if "memory_limit" in arguments:
            request.memory_limit = arguments["memory_limit"]
        with renamed(expires_after__minutes="expires_after_minutes"):
            made = await call.run("CreateContainer", request, _create)
        return result({**_described(made), "folder": ROOT})

    return [
        Tool(
            "create_container",
            "Create a container",
            "Creates a container: an isolated Linux sandbox with files of its own, in which run_command and run_python "
            f"run code. Create one per task and use it for all steps of the task: its files in {ROOT} stay between "
            "calls. It has no network. It expires, with its files, when it has not been used for a while.",
            inputs(
                {
                    "name": text(f"A name for people. Default: '{DEFAULT_NAME}'."),
                    "provider": text(
                        "The AI provider that the container belongs to, such as 'ollama'. Leave it out unless you were "
                        "given one: the service has a default."
                    ),
                    "expires_after_minutes": integer(
                        "After how many minutes without use the container expires. Default: 20.", minimum=1
                    ),
                    "memory_limit": text(
                        "The memory that commands in the container may use. Default: '1g'.", enum=list(MEMORY_LIMITS)
                    ),
                }
            ),
            _with_folder(_CONTAINER),
            create,
        ),
        Tool(
            "list_containers",
            "List containers",
            "Lists your containers, the newest first, also expired ones.",
            inputs(
                {
                    "limit": integer("How many containers to return. Default: 20.", minimum=1, maximum=MAX_CONTAINERS),
                    "after": text("The last container_id of the previous page, to get the next one."),
                }
            ),
            shape(
                {
                    "containers": list_of(_CONTAINER, "The containers."),
                    "has_more": {"type": "boolean", "description": "Whether there are more after these."},
                },
                required=["containers", "has_more"],
            ),
            _list_containers,
            READS,
        ),
        Tool(
            "delete_container",
            "Delete a container",
            "Deletes a container with all its files, and ends what runs in it. Do this when a task is done.",
            inputs({"container_id": CONTAINER_ID}, required=["container_id"]),
            shape(
                {
                    "container_id": text("The id of the container that was deleted."),
                    "deleted": {"type": "boolean", "description": "Always true."},
                },
                required=["container_id", "deleted"],
            ),
            _delete_container,
            {**CHANGES, "idempotentHint": True},
        ),
    ]


async def _list_containers(arguments: Json, call: ToolCall) -> Json:
    page = await call.run("ListContainers", ListContainersRequest(**arguments), _list)
    found = [_described(container) for container in page.data]
    return result({"containers": found, "has_more": page.has_more})


async def _delete_container(arguments: Json, call: ToolCall) -> Json:
    deleted = await call.run("DeleteContainer", DeleteContainerRequest(**arguments), _delete)
    return result({"container_id": deleted.id, "deleted": deleted.deleted})


async def _create(request: Any, call: Call) -> Container:
    return await call.containers.create_container(call.caller, request)


async def _list(request: Any, call: Call) -> ListContainersResponse:
    return await call.containers.list_containers(call.caller, request)


async def _delete(request: Any, call: Call) -> DeleteContainerResponse:
    return await call.containers.delete_container(call.caller, request)


def _described(container: Container) -> Json:
    """Return what a model has to know about a container."""
    provider = container.provider or container.extra_fields.provider
    described: Json = {
        "container_id": container.id,
        "name": container.name,
        "provider": PROVIDER_NAMES.get(provider, ""),
        "status": _STATUSES.get(container.status, "unknown"),
        "created_at": container.created_at,
    }
    if container.expires_after.minutes:
        described["expires_after_minutes"] = container.expires_after.minutes
    if container.memory_limit:
        described["memory_limit"] = container.memory_limit
    return described


def _with_folder(container: Json) -> Json:
    properties = {**container["properties"], "folder": text("The folder of its files, in which commands start.")}
    return shape(properties, [*container["required"], "folder"])
