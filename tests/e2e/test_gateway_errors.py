"""What a provider refuses, as the official SDK raises it: through the gateway as it would be without."""

import json
from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI

from support.providers.raw import Exchange, answer, misbehaving
from support.servers.background import in_background
from support.servers.berth import KEY_A, Berth, running
from support.servers.chain import passing_to

AUTH = {"virtual_keys": [{"name": "a", "value": KEY_A, "tenant": "a"}]}
SAID = {"message": "It cannot be.", "type": "strange_error", "param": "name", "code": "strange"}


async def as_named(exchange: Exchange) -> None:
    """Refuse a container with the status that is its name."""
    status = int(json.loads(exchange.received.body)["name"])
    headers = {"retry_after": "7"} if status == 429 else {}
    await answer(status, {"error": SAID}, **headers)(exchange)


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    with in_background(misbehaving(as_named)) as provider:
        providers = {"openai": passing_to(f"{provider.url}/v1", "sk-up")}
        with running(tmp_path_factory.mktemp("errors"), {"providers": providers, "auth": AUTH}) as berth:
            yield berth


@pytest.fixture
def client(berth: Berth) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{berth.rest}/openai/v1", api_key=KEY_A, max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (404, openai.NotFoundError),
        (409, openai.ConflictError),
        (429, openai.RateLimitError),
    ],
)
def test_what_the_provider_says(client: OpenAI, status: int, kind: type[openai.APIStatusError]) -> None:
    """Status, message, type, param and code are the provider's own."""
    with pytest.raises(kind) as caught:
        client.containers.create(name=str(status))
    assert caught.value.status_code == status
    assert caught.value.body == SAID
    assert caught.value.response.headers["x-bifrost-provider"] == "openai"
    assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.parametrize(("status", "code"), [(500, "provider_server_error"), (403, "upstream_credentials_exhausted")])
def test_what_the_provider_fails_at(client: OpenAI, status: int, code: str) -> None:
    """That the provider fails, or that it does not accept Berth's key, is no fault of the caller's: a 503."""
    with pytest.raises(openai.InternalServerError) as caught:
        client.containers.create(name=str(status))
    assert (caught.value.status_code, caught.value.code, caught.value.type) == (503, code, "api_error")
