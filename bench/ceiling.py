"""The upper bound for Berth's speed: a minimal grpc.aio server behind the same Envoy.

It returns prepared messages, counts the bytes of uploads and makes those of downloads, without interceptors, store and
log. It prints the same ready line as `berth up` and runs until it is terminated.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import structlog
from google.api.httpbody_pb2 import HttpBody

from berth.launch.envoy.process import ADMIN_SOCKET
from berth.launch.envoy.supervisor import running_envoy
from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings
from berth.rpc.transports.grpcio.server import OPTIONS
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import RetrieveContainerFileRequest
from berth.v1.container_file_service_pb2_grpc import (
    ContainerFileServiceServicer,
    add_ContainerFileServiceServicer_to_server,
)
from berth.v1.extra_fields_pb2 import ExtraFields
from berth.v1.file_pb2 import File
from berth.v1.file_service_pb2 import CreateFileRequest, RetrieveFileContentRequest
from berth.v1.file_service_pb2_grpc import FileServiceServicer, add_FileServiceServicer_to_server
from berth.v1.provider_pb2 import Provider

CONTENT = HttpBody(content_type="application/octet-stream", data=bytes(512 * 1024))


class Ceiling(ContainerFileServiceServicer):
    """Implements one method, which returns the same metadata for every file."""

    async def RetrieveContainerFile(  # noqa: N802 - the contract's name
        self, request: RetrieveContainerFileRequest, _: object
    ) -> ContainerFile:
        """Return a message as large as Berth's."""
        return ContainerFile(
            id=request.file_id,
            object="container.file",
            container_id=request.container_id,
            path="/mnt/data/276c8174023f6f1df4d53eb7a554bfe2-bench.txt",
            bytes=5,
            created_at=1_795_299_662,
            source="user",
            extra_fields=ExtraFields(request_type="container_file_retrieve", provider=Provider.PROVIDER_OLLAMA),
        )


class CountingCeiling(FileServiceServicer):
    """Counts the bytes of uploads and discards them."""

    async def CreateFile(self, requests: AsyncIterator[CreateFileRequest], _: object) -> File:  # noqa: N802 - the contract's name
        """Return a file with the number of bytes that were received."""
        counted = 0
        async for request in requests:
            counted += len(request.body.data)
        return File(id=f"file-{counted}", object="file", bytes=counted)

    async def RetrieveFileContent(  # noqa: N802 - the contract's name
        self, request: RetrieveFileContentRequest, _: object
    ) -> AsyncIterator[HttpBody]:
        """Send as many bytes as the id of the file says."""
        for _number in range(int(request.file_id.removeprefix("file-")) // len(CONTENT.data)):
            yield CONTENT


async def main(folder: Path) -> None:
    """Serve; `folder` is for Envoy's files."""
    server = grpc.aio.server(options=OPTIONS)
    add_ContainerFileServiceServicer_to_server(Ceiling(), server)  # type: ignore[abstract] # other methods are not called
    add_FileServiceServicer_to_server(CountingCeiling(), server)  # type: ignore[abstract] # other methods are not called
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    settings = EdgeSettings(rest_port=0, admin_socket=ADMIN_SOCKET, grpc_port=port)
    async with running_envoy(
        bootstrap(settings), folder, listener="rest", grace_seconds=1, json_log=True, log=structlog.get_logger()
    ) as envoy:
        print(json.dumps({"rest": f"http://127.0.0.1:{envoy.port}", "grpc": f"127.0.0.1:{port}"}), flush=True)
        await envoy.watch()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
