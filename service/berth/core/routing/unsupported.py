"""A provider that has no containers and no files."""

from typing import NoReturn

from berth.core.errors import UnsupportedOperationError
from berth.core.providers import provider_name
from berth.v1.provider_pb2 import Provider


class UnsupportedBackend:
    """A Backend and FileBackend whose every operation raises UnsupportedOperationError."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider_name(provider)

    async def create_container(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_create", self._provider)

    async def list_containers(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_list", self._provider)

    async def retrieve_container(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_retrieve", self._provider)

    async def delete_container(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_delete", self._provider)

    async def create_container_file(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_file_create", self._provider)

    async def list_container_files(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_file_list", self._provider)

    async def retrieve_container_file(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_file_retrieve", self._provider)

    async def retrieve_container_file_content(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_file_content", self._provider)

    async def delete_container_file(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("container_file_delete", self._provider)

    async def create_file(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("file_create", self._provider)

    async def list_files(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("file_list", self._provider)

    async def retrieve_file(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("file_retrieve", self._provider)

    async def retrieve_file_content(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("file_content", self._provider)

    async def delete_file(self, *_: object) -> NoReturn:
        """Refuse."""
        raise UnsupportedOperationError("file_delete", self._provider)
