"""An answer that comes before the upload has been read: its end must get to the caller all the same."""

import asyncio
from typing import NoReturn

from google.api.httpbody_pb2 import HttpBody

from berth.core.errors import InvalidRequestError
from berth.core.ports.backend import Upload
from berth.core.routing.unsupported import UnsupportedBackend
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from support.servers.service import OLLAMA, OURS, refused, serving

UPLOADS = 200


class Hasty(UnsupportedBackend):
    """A backend that has another task read the upload, as one that passes it on does, and does not wait for it."""

    def __init__(self, patience: int) -> None:
        super().__init__(OLLAMA)
        self._patience = patience
        self.reading: list[asyncio.Task[int]] = []

    async def create_container_file(self, *given: object, **__: object) -> NoReturn:
        """Refuse, a few turns of the event loop after the reading has begun."""
        _, upload = given
        self.reading.append(asyncio.ensure_future(_read(upload)))  # type: ignore[arg-type] # a Caller and an Upload
        for _ in range(self._patience):
            await asyncio.sleep(0)
        raise InvalidRequestError("no", param="file")


async def _read(upload: Upload) -> int:
    return sum([len(chunk) async for chunk in upload.chunks()])


async def test_an_early_refusal_arrives() -> None:
    """Whenever it comes, while the end of the upload is read, before it or after, the caller gets it."""
    for patience in range(12):
        backend = Hasty(patience)
        async with serving(backend) as served, asyncio.timeout(30):
            for _ in range(UPLOADS // 12):
                request = CreateContainerFileRequest(
                    container_id="cntr_1", body=HttpBody(content_type="text/plain", data=b"hello")
                )
                error = await refused(served.files.CreateContainerFile(iter([request]), metadata=OURS))
                assert error.facts() == ("INVALID_ARGUMENT", "invalid_value", "file")
        await asyncio.gather(*backend.reading, return_exceptions=True)
