"""Records to put into stores, and short ways to put and list them."""

from hashlib import sha256

from berth.core.ports.container_store import ContainerFileRecord, ContainerRecord, ContainerStore, Quotas
from berth.core.ports.pages import Pagination
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_pb2 import Container, ContainerStatus, ExpiresAfter
from berth.v1.provider_pb2 import Provider

ROOMY = Quotas(container_bytes=1 << 40, tenant_bytes=1 << 40)
NOW = 1_700_000_000
OPENAI, COHERE, OLLAMA = Provider.PROVIDER_OPENAI, Provider.PROVIDER_COHERE, Provider.PROVIDER_OLLAMA
STRANGE_IDS = [
    "",
    "nobody",
    'it\'s "quoted"; DROP TABLE containers; --',
    "%",
    "NUL \0 inside",
    "港のコンテナ 🚢",
    "lone surrogate \ud800",
    "x" * 10_000,
]


def container(
    container_id: str, *, tenant: str = "ours", provider: Provider = OPENAI, name: str = "box"
) -> ContainerRecord:
    message = Container(
        id=container_id,
        object="container",
        name=name,
        created_at=NOW,
        last_active_at=NOW + 5,
        expires_after=ExpiresAfter(anchor="last_active_at", minutes=20),
    )
    return ContainerRecord(message, tenant=tenant, provider=provider)


def file(file_id: str, *, container_id: str = "box", path: str | None = None, size: int = 10) -> ContainerFileRecord:
    message = ContainerFile(
        id=file_id,
        object="container.file",
        container_id=container_id,
        path=path or f"/mnt/data/{file_id}",
        bytes=size,
        created_at=NOW,
        source="user",
    )
    digest = sha256(file_id.encode(errors="surrogatepass")).hexdigest()
    return ContainerFileRecord(
        message, filename="a.txt", content_type="text/plain", sha256=digest, blob=f"blob of {file_id}"
    )


async def add_files(store: ContainerStore, *file_ids: str, container_id: str = "box") -> None:
    for file_id in file_ids:
        await store.add_file("ours", file(file_id, container_id=container_id), quotas=ROOMY)


async def listed(
    store: ContainerStore,
    pagination: Pagination,
    *,
    tenant: str = "ours",
    providers: frozenset[Provider] | None = None,
    name: str | None = None,
    status: ContainerStatus | None = None,
) -> tuple[list[str], bool]:
    data, has_more = await store.list_containers(tenant, pagination, providers=providers, name=name, status=status)
    return [record.container.id for record in data], has_more


async def listed_files(store: ContainerStore, pagination: Pagination) -> tuple[list[str], bool]:
    data, has_more = await store.list_files("ours", "box", pagination)
    return [record.file.id for record in data], has_more
