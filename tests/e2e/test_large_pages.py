"""Lists of large items: pages that every gRPC client accepts, and that join into the whole list."""

from collections.abc import Iterator
from itertools import count
from urllib.parse import parse_qs, urlsplit

import grpc
import httpx2
import pytest

from berth.v1.container_file_service_pb2 import ListContainerFilesRequest
from berth.v1.container_file_service_pb2_grpc import ContainerFileServiceStub
from berth.v1.container_pb2 import NetworkPolicyType
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    ListContainersRequest,
    ListContainersResponse,
    NetworkPolicyParam,
)
from berth.v1.container_service_pb2_grpc import ContainerServiceStub
from berth.v1.file_service_pb2 import ListFilesRequest
from berth.v1.file_service_pb2_grpc import FileServiceStub
from berth.v1.provider_pb2 import Provider
from support.providers.faults import CONTAINER
from support.providers.raw import Behaviour, Exchange, answer, misbehaving
from support.providers.scripted import FILE
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth, running
from support.servers.chain import passing_to

LARGEST_PAGE = 3 * 1024 * 1024
METADATA = {f"{number:064}": "🚢" * 512 for number in range(16)}
LABEL = "x" * 61
POLICY = NetworkPolicyParam(
    type=NetworkPolicyType.NETWORK_POLICY_TYPE_ALLOWLIST,
    allowed_domains=[f"{number:03}.{LABEL}.{LABEL}.{LABEL}.{'x' * 59}.com" for number in range(100)],
)
"""With METADATA it makes a container of 60 kB: 100 are more than a gRPC client accepts."""
CALLER = (("authorization", f"Bearer {KEY_A}"),)
SETTINGS = {"auth": {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]}, "default_provider": "ollama"}
PROVIDED = [FILE | {"id": f"cfile_{number:03}", "path": f"/mnt/data/{'x' * 100_000}"} for number in range(100)]
"""The files that the provider has, in the order of its lists: 10 MB."""
TENANT_FILES, NAME_LENGTH = 45, 100_000


def provide() -> Behaviour:
    """Answer like a provider that has a container of many files, whose paths are long, and gives files long names."""
    numbers = count()

    async def behave(exchange: Exchange) -> None:
        asked = urlsplit(exchange.received.target)
        if exchange.received.method == "POST" and asked.path == "/v1/files":
            file = {"id": f"file-{next(numbers):03}", "object": "file", "filename": "x" * NAME_LENGTH}
            await answer(200, file)(exchange)
        elif asked.path.endswith("/files"):
            await answer(200, _page({name: values[0] for name, values in parse_qs(asked.query).items()}))(exchange)
        else:
            await answer(200, CONTAINER)(exchange)

    return behave


def _page(query: dict[str, str]) -> dict[str, object]:
    begin = int(query["after"].removeprefix("cfile_")) + 1 if "after" in query else 0
    page = PROVIDED[begin : begin + int(query["limit"])]
    return {"data": page, "has_more": begin + len(page) < len(PROVIDED)}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Berth, list[str]]]:
    """Run a Berth with 100 hosted containers of the largest size, and a passthrough one; give the ids of the former."""
    with in_background(misbehaving(provide())) as provider:
        providers = {"openai": passing_to(f"{provider.url}/v1", "sk-up")}
        with running(tmp_path_factory.mktemp("large"), SETTINGS | {"providers": providers}) as berth:
            yield berth, list(_filled(berth))


def _filled(berth: Berth) -> Iterator[str]:
    with grpc.insecure_channel(berth.grpc) as channel:
        create = ContainerServiceStub(channel).CreateContainer
        create(CreateContainerRequest(name="x", provider=Provider.PROVIDER_OPENAI), metadata=CALLER)
        for number in range(100):
            request = CreateContainerRequest(name=f"c{number}", metadata=METADATA, network_policy=POLICY)
            yield create(request, metadata=CALLER).id
    with httpx2.Client(base_url=berth.rest, headers=dict(CALLER), timeout=30) as client:
        for _ in range(TENANT_FILES):
            form = {"provider": "openai", "purpose": "batch"}
            client.post("/v1/files", data=form, files={"file": ("a", b"x")}).raise_for_status()


def test_hosted_containers(large: tuple[Berth, list[str]]) -> None:
    """Over gRPC with the client's own limits, each page has at most 3 MiB, and no container is left out."""
    berth, ids = large
    seen, pages = [], list[ListContainersResponse]()
    with grpc.insecure_channel(berth.grpc) as channel:
        while not pages or pages[-1].has_more:
            after = pages[-1].last_id if pages else None
            request = ListContainersRequest(limit=100, after=after, order="asc", provider=Provider.PROVIDER_OLLAMA)
            pages.append(ContainerServiceStub(channel).ListContainers(request, metadata=CALLER))
            seen += [container.id for container in pages[-1].data]
    assert seen == ids
    assert len(pages) == 2
    assert all(sum(item.ByteSize() for item in page.data) <= LARGEST_PAGE for page in pages)


@pytest.mark.parametrize("more", [{}, {"include": "bytes"}])
def test_hosted_containers_over_rest(large: tuple[Berth, list[str]], more: dict[str, str]) -> None:
    """Over REST the pages are the same, with and without sizes."""
    berth, ids = large
    query = {"limit": "100", "order": "asc", "provider": "ollama", **more}
    assert _walked(f"{berth.rest}/v1/containers", query) == (ids, 2)


def test_files_of_a_provider(large: tuple[Berth, list[str]]) -> None:
    """A provider's page that is too large is cut, and the next one begins where it ended."""
    berth, _ = large
    ids = [str(file["id"]) for file in PROVIDED]
    assert _walked(f"{berth.rest}/v1/containers/{CONTAINER['id']}/files", {"limit": "100"}) == (ids, 4)
    with grpc.insecure_channel(berth.grpc) as channel:
        request = ListContainerFilesRequest(container_id=str(CONTAINER["id"]), limit=100)
        page = ContainerFileServiceStub(channel).ListContainerFiles(request, metadata=CALLER)
    assert (len(page.data), page.has_more, page.last_id) == (31, True, "cfile_030")


def test_files_with_long_names(large: tuple[Berth, list[str]]) -> None:
    """The list of the files that were created at a provider has such pages, too."""
    berth, _ = large
    ids = [f"file-{number:03}" for number in range(TENANT_FILES)]
    assert _walked(f"{berth.rest}/v1/files", {"order": "asc", "provider": "openai"}) == (ids, 2)
    with grpc.insecure_channel(berth.grpc) as channel:
        page = FileServiceStub(channel).ListFiles(ListFilesRequest(order="asc"), metadata=CALLER)
    assert (len(page.data), page.has_more, page.last_id) == (31, True, "file-030")


def _walked(url: str, query: dict[str, str]) -> tuple[list[str], int]:
    """Return the ids of a list and how many pages it has."""
    ids, pages, after = list[str](), 0, dict[str, str]()
    while True:
        page = httpx2.get(url, params=query | after, headers=dict(CALLER), timeout=30).raise_for_status().json()
        ids += [item["id"] for item in page["data"]]
        pages += 1
        if not page["has_more"]:
            return ids, pages
        after = {"after": page["last_id"]}
