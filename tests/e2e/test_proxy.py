"""Proxies of the environment, on the way to a provider."""

import json
from base64 import b64encode
from pathlib import Path

from support.providers.raw import answer, misbehaving
from support.servers.background import in_background
from support.servers.process import running_berth

CREATED = {"id": "cntr_1", "object": "container", "created_at": 1, "status": "running", "name": "a"}
PROVIDER = {"backend": "openai", "base_url": "http://provider.example/v1", "keys": [{"name": "main", "value": "sk-1"}]}
NEW = {"provider": "groq", "name": "a"}


def test_a_request_takes_the_proxy_of_the_environment(tmp_path: Path) -> None:
    """The proxy gets the whole URL and its own password; a provider in NO_PROXY is called directly."""
    providers = {"groq": PROVIDER, "ollama": {**PROVIDER, "base_url": "http://direct.invalid/v1"}}
    with in_background(misbehaving(answer(200, CREATED))) as proxy:
        environ = {
            "HTTP_PROXY": proxy.url.replace("://", "://user:hidden@"),
            "NO_PROXY": "direct.invalid",
            "BERTH_PROVIDERS": json.dumps(providers),
        }
        with running_berth("up", tmp_path / "data", environ=environ) as berth:
            assert berth.call("POST", "/v1/containers", NEW)[0] == 200
            assert berth.call("POST", "/v1/containers", {**NEW, "provider": "ollama"})[0] >= 500
            assert "hidden" not in berth.errors
        (call,) = proxy.calls
    assert (call.method, call.target) == ("POST", "http://provider.example/v1/containers")
    assert call.headers["proxy-authorization"] == f"Basic {b64encode(b'user:hidden').decode()}"
    assert call.headers["authorization"] == "Bearer sk-1"
