"""Requests that are generated from the OpenAPI document, valid ones and others: the service keeps to the document."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from berth.web.site import site_files
from support.measuring.soak import soak, times
from support.servers.berth import UNCOUNTED
from support.servers.process import BerthProcess, running_berth

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CREDENTIALS = ("authorization", "x-bf-vk", "x-api-key", "x-goog-api-key", "api-key")
EXAMPLES = times(12, 120)
"""How many requests of each of the 46 kinds there are: at most 552 or 5 520.

`/healthz` and `/readyz` have at most 20 different ones.
"""


def document() -> Any:
    """Return the document for a generator: one that makes no unknown fields, and takes no event for a text."""
    document = json.loads(site_files()["/openapi.json"].read_bytes())
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    for verbs in document["paths"].values():
        for operation in verbs.values():
            for response in operation["responses"].values():
                response.get("content", {}).get("text/event-stream", {}).pop("schema", None)
    return document


SCHEMA = schemathesis.openapi.from_dict(document())
OPERATIONS: list[Any] = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr] # none is invalid
KINDS = [
    pytest.param(operation, mode, id=f"{mode.value} {operation.label}")
    for operation in OPERATIONS
    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
    if mode is GenerationMode.POSITIVE or operation.path.startswith("/v1/")
]
"""Valid requests, and those that are invalid in some place; the health has nothing that could be invalid."""


class World:
    """What a tenant has: a container with a file and a command, and a file in none, made again when they are gone."""

    def __init__(self, berth: BerthProcess) -> None:
        self.base_url: str = berth.ready["rest"]
        self.authorization = berth.authorization()
        self.session = requests.Session()
        self.statuses = Counter[int]()
        self._client = httpx2.Client(base_url=self.base_url, headers=self.authorization, timeout=60)
        self._ids: dict[str, str] = {}

    def close(self) -> None:
        """Close all connections."""
        self.session.close()
        self._client.close()

    def ids(self, *, in_container: bool) -> dict[str, str]:
        """Return the id of everything by its name in a path."""
        if not self._ids:
            container = self._make("/v1/containers", json={"provider": "ollama", "name": "home"})
            files = f"/v1/containers/{container}/files"
            self._ids = {
                "container_id": container,
                "file_id": self._make(f"{files}?filename=a", content=b"hello"),
                **self._exec(f"/v1/containers/{container}/execs"),
                "loose": self._make("/v1/files?filename=a&purpose=batch&provider=ollama", content=b"hello"),
            }
        return self._ids if in_container else {"file_id": self._ids["loose"]}

    def forget(self) -> None:
        """Make everything again when it is needed."""
        self._ids = {}

    def _exec(self, path: str) -> dict[str, str]:
        """Return the id of a command, if this machine runs any."""
        response = self._client.post(path, json={"command": "echo hello > hello.txt; cat hello.txt"})
        return {"exec_id": response.json()["id"]} if response.is_success else {}

    def _make(self, path: str, **body: Any) -> str:
        made: str = self._client.post(path, **body).raise_for_status().json()["id"]
        return made


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Run a Berth with the real sandbox, because any command may be generated; print what was answered."""
    folder = tmp_path_factory.mktemp("generated") / "data"
    environ = {
        "BERTH_PROVIDERS": '{"openai": {"backend": "hosted"}}',
        "BERTH_EXEC__DRIVER": "auto",
        "BERTH_EXEC__TIMEOUT_SECONDS": "1",
        "BERTH_EXEC__MAX_TIMEOUT_SECONDS": "1",
    }
    with running_berth("up", folder, environ=environ, inside=UNCOUNTED) as berth:
        world = World(berth)
        yield world
        world.close()
    print(f"\n{world.statuses.total()} generated requests: {dict(sorted(world.statuses.items()))}")  # noqa: T201 - figures


@soak
@pytest.mark.parametrize(("operation", "mode"), KINDS)
def test_answers_are_those_of_the_document(world: World, operation: Any, mode: GenerationMode) -> None:
    """No generated request gets a 5xx or an answer outside of the document; what the document forbids is refused."""

    @settings(max_examples=EXAMPLES, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode), exists=st.booleans(), has_key=st.integers(0, 9))
    def send(case: Any, *, exists: bool, has_key: int) -> None:
        _aim(case, world, exists=exists, has_key=has_key > 0)
        response = case.call(base_url=world.base_url, session=world.session)
        world.statuses[response.status_code] += 1
        if case.method == "DELETE" and response.status_code == 200:
            world.forget()
        is_empty = "" in case.query.values()  # an empty filter is ignored
        is_refusable = mode is GenerationMode.NEGATIVE and not (exists or is_empty) and response.status_code < 300
        case.validate_response(response, checks=[*CHECKS, *([negative_data_rejection] if is_refusable else [])])

    send()


def _aim(case: Any, world: World, *, exists: bool, has_key: bool) -> None:
    """Send most requests with the key, and half of them to what exists."""
    if has_key:
        for name in CREDENTIALS:
            case.headers.pop(name, None)
        case.headers.update(world.authorization)
    if exists:
        ids = world.ids(in_container="container_id" in case.path_parameters)
        case.path_parameters.update({name: ids[name] for name in ids if name in case.path_parameters})
        case.query.pop("provider", None)
