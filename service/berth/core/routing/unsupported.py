"""The backend of providers that have no containers and no files."""

from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

from berth.core.errors import UnsupportedOperationError
from berth.core.operations import REQUEST_TYPES
from berth.core.ports.wrapper import BackendWrapper, FileBackendWrapper
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import Provider


class UnsupportedBackend(BackendWrapper, FileBackendWrapper):
    """A Backend and FileBackend that raises UnsupportedOperationError in every operation."""

    def __init__(self, provider: Provider) -> None:
        self._backend: Any = _UnsupportedOperations(provider_name(provider))


class _UnsupportedOperations:
    """Has every method of a backend; each raises the error that names its operation."""

    def __init__(self, provider: str) -> None:
        self._provider = provider

    def __getattr__(self, method: str) -> Callable[..., Coroutine[Any, Any, NoReturn]]:
        request_type = REQUEST_TYPES[method]

        async def refuse(*_: object, **__: object) -> NoReturn:
            raise UnsupportedOperationError(request_type, self._provider)

        return refuse
