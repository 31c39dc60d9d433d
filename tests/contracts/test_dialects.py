"""What every dialect promises: its path, its key, its version, its names, and what the provider lacks."""

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from berth.adapters.upstream.dialects import DIALECTS, Dialect
from berth.adapters.upstream.settings import UpstreamKey
from berth.config.providers import ProviderSettings
from berth.core.errors import InvalidRequestError
from berth.v1.container_file_service_pb2 import RetrieveContainerFileContentRequest
from berth.v1.container_service_pb2 import (
    CreateContainerRequest,
    ListContainersRequest,
    RetrieveContainerRequest,
    Skill,
)
from berth.v1.provider_pb2 import Provider
from support.fakes.subjects import OURS, refused
from support.fakes.uploads import GivenUpload
from support.providers.scripted import CONTAINER, FILE, Provided, answer, passing, providing

OPENAI = Provider.PROVIDER_OPENAI
KEY = UpstreamKey("main", "sk-main-secret", tenant="ours")
VERSION = "2025-04-01-preview"
PATHS = {
    "openai": "/v1",
    "azure": "/openai/v1",
    "azure_dated": "/openai",
    "oci": "/openai/v1",
    "berth": "/v1",
}
HEADERS = {
    "azure": {"api-key": KEY.value},
    "azure_dated": {"api-key": KEY.value},
}
every_dialect = pytest.mark.parametrize("name", DIALECTS)


@pytest.fixture
async def provider() -> AsyncIterator[Provided]:
    async with providing() as provider:
        yield provider


def options(name: str, provider: Provided) -> dict[str, Any]:
    """Return the settings of a provider with a dialect; the base URL is the one of its documentation."""
    root = f"http://127.0.0.1:{provider.port}{'/v1' if name == 'openai' else ''}"
    version = VERSION if DIALECTS[name].needs_version else None
    return {"dialect": DIALECTS[name], "base_url": root, "api_version": version}


def test_the_configuration_knows_them_all() -> None:
    """Each dialect is a backend of the configuration, and the other way round."""
    backends = ProviderSettings.model_json_schema()["properties"]["backend"]["enum"]
    assert set(DIALECTS) == set(backends) - {"hosted", "unsupported"} == set(PATHS)


@every_dialect
async def test_the_provider_is_asked_its_own_way(provider: Provided, name: str) -> None:
    """Path, key and version are those of the provider, in every operation, and a list is asked for if it has lists."""
    page = answer({"object": "list", "data": [CONTAINER], "has_more": False})
    provider.answers(answer(CONTAINER), answer(CONTAINER), answer(FILE), answer(b"hello"), page)
    async with passing(provider.port, KEY, **options(name, provider)) as passed:
        await passed.backend.create_container(OURS, CreateContainerRequest(provider=OPENAI, name="box"))
        await passed.backend.retrieve_container(OURS, RetrieveContainerRequest(container_id="cntr_1"))
        await passed.backend.create_container_file(OURS, GivenUpload("cntr_1"))
        asked = RetrieveContainerFileContentRequest(container_id="cntr_1", file_id="cfile_1")
        (await passed.backend.retrieve_container_file_content(OURS, asked)).close()
        listed = await passed.backend.list_containers(OURS, ListContainersRequest(provider=OPENAI))
    assert [container.id for container in listed.data] == ["cntr_1"]
    query = f"?api-version={VERSION}" if DIALECTS[name].needs_version else ""
    paths = [
        "/containers",
        "/containers/cntr_1",
        "/containers/cntr_1/files",
        "/containers/cntr_1/files/cfile_1/content",
    ]
    wanted = [*paths, *([] if "container_list" in DIALECTS[name].lacks else ["/containers"])]
    assert [call.target for call in provider.asked] == [f"{PATHS[name]}{path}{query}" for path in wanted]
    for call in provider.asked:
        sent = {header: call.headers.get(header) for header in ("api-key", "Authorization")}
        assert sent == {"api-key": None, "Authorization": None} | HEADERS.get(
            name, {"Authorization": f"Bearer {KEY.value}"}
        )


@every_dialect
async def test_what_it_lacks_is_refused_without_a_call(provider: Provided, name: str) -> None:
    """A field that the provider does not support is a 400 that names it."""
    async with passing(provider.port, KEY, **options(name, provider)) as passed:
        request = CreateContainerRequest(provider=OPENAI, name="box", skills=[Skill(type="skill_reference")])
        if "skills" not in DIALECTS[name].lacks_fields:
            await passed.backend.create_container(OURS, request)
            return
        error = await refused(passed.backend.create_container(OURS, request))
    assert (type(error), error.param, error.code) == (InvalidRequestError, "skills", "unsupported_parameter")
    assert provider.asked == []


async def test_names_are_translated(provider: Provided) -> None:
    """Where a provider has another name for a field, it is sent and read under that name, in lists too."""
    spelled = Dialect(about="", example="", prefix="", key_header="x-key", key_form="{}", names={"memory_limit": "ram"})
    theirs = {name: value for name, value in CONTAINER.items() if name != "memory_limit"} | {"ram": "4g"}
    provider.answers(answer(theirs), answer({"object": "list", "data": [theirs], "has_more": False}))
    async with passing(provider.port, KEY, dialect=spelled) as passed:
        request = CreateContainerRequest(provider=OPENAI, name="box", memory_limit="4g")
        assert (await passed.backend.create_container(OURS, request)).memory_limit == "4g"
        (listed,) = (await passed.backend.list_containers(OURS, ListContainersRequest(provider=OPENAI))).data
    assert listed.memory_limit == "4g"
    assert orjson.loads(provider.asked[0].body) == {"name": "box", "ram": "4g"}
