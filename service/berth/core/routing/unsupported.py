"""The backends of providers that have no containers and no files, or run no commands in containers."""

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from berth.core.errors import UnsupportedOperationError
from berth.core.exec.backend import ExecBackendWrapper
from berth.core.operations import REQUEST_TYPES
from berth.core.ports.wrapper import BackendWrapper, FileBackendWrapper
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import Provider


class UnsupportedBackend(BackendWrapper, FileBackendWrapper, ExecBackendWrapper):
    """A Backend, FileBackend and ExecBackend that raises UnsupportedOperationError in every operation."""

    def __init__(self, provider: Provider) -> None:
        self._backend: Any = _UnsupportedOperations(provider_name(provider))
        self._execs: Any = self._backend


class UnsupportedExecs(ExecBackendWrapper):
    """An ExecBackend that does the same, for the containers of a provider that has no commands."""

    def __init__(self, provider: Provider) -> None:
        self._execs: Any = _UnsupportedOperations(provider_name(provider))


class _UnsupportedOperations:
    """Has every method of a backend; each raises the error that names its operation."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, NoReturn]]:
        request_type = REQUEST_TYPES[method]

        async def refuse(*_: object, **__: object) -> NoReturn:
            raise UnsupportedOperationError(request_type, self._provider)

        return refuse
