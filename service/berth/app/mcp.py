"""Builds what serves MCP."""

from collections.abc import Callable, Sequence

from berth.app.backends import Backends
from berth.app.sources import version
from berth.config import Config
from berth.core.caller import Caller
from berth.core.providers import PROVIDERS
from berth.rpc.call import Interceptor
from berth.rpc.handlers.mcp import McpHandlers
from berth.rpc.interceptors.admission import Admission
from berth.rpc.mcp.operations import Operations
from berth.rpc.mcp.server import McpServer
from berth.rpc.mcp.tools.commands import command_tools
from berth.rpc.mcp.tools.containers import container_tools
from berth.rpc.mcp.tools.files import file_tools
from berth.v1.provider_pb2 import PROVIDER_UNSPECIFIED, Provider


def build_mcp(
    config: Config, backends: Backends, *, admit: Admission, interceptors: Sequence[Interceptor]
) -> McpHandlers:
    """Return the handlers of MCP; `interceptors` run for each operation of a tool."""
    tools = [
        *container_tools(provider_chooser(config)),
        *command_tools(backends.parts.leases.background),
        *file_tools(),
    ]
    return McpHandlers(
        McpServer(tools, version=version()),
        Operations(admit, interceptors),
        origins=config.cors.origins,
        max_json_bytes=config.listen.max_json_bytes,
    )


def provider_chooser(config: Config) -> Callable[[Caller], Provider]:
    """Return what chooses the provider of a container that is created without naming one.

    It is the default provider, or else the first one with hosted containers that the caller may use, because code
    can be run in these. A caller with its own key of a provider has to name one.
    """
    hosted = [provider for name, provider in PROVIDERS.items() if config.backend_of(name) == "hosted"]
    candidates = [PROVIDERS[config.default_provider], *hosted] if config.default_provider else hosted

    def choose(caller: Caller) -> Provider:
        if caller.direct_key is not None:
            return PROVIDER_UNSPECIFIED
        allowed = (one for one in candidates if caller.providers is None or one in caller.providers)
        return next(allowed, PROVIDER_UNSPECIFIED)

    return choose
