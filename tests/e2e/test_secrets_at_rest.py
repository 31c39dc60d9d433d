"""Domain secrets in a running Berth: gone from every file soon after their deletion, and encrypted with a key."""

import asyncio
from pathlib import Path

import httpx2

from support.measuring.leaks import leaks
from support.servers.berth import KEY_A, SETTINGS, Berth, running
from support.servers.service import eventually

MARKER = "marker-0b6d5c-secret"
NEW = {
    "name": "box",
    "network_policy": {
        "type": "allowlist",
        "allowed_domains": ["a.example"],
        "domain_secrets": [{"domain": "a.example", "name": "TOKEN", "value": MARKER}],
    },
}


def connected(berth: Berth) -> httpx2.Client:
    return httpx2.Client(base_url=f"{berth.rest}/v1", headers={"x-bf-vk": KEY_A}, timeout=60)


def test_a_deleted_secret_leaves_the_disk_within_a_minute(tmp_path: Path) -> None:
    """A secret is in the database while its container is there, and in no file a minute after it was deleted."""
    with running(tmp_path, SETTINGS) as berth, connected(berth) as client:
        container = client.post("/containers", json=NEW).json()["id"]
        assert leaks(tmp_path, [MARKER]) != []
        assert client.delete(f"/containers/{container}").status_code == 200
        asyncio.run(eventually(lambda: leaks(tmp_path, [MARKER]) == [], seconds=60))


def test_with_a_key_a_secret_never_reaches_the_disk(tmp_path: Path) -> None:
    """No file ever has the secret in plain text, and a start with another key or none serves all but the secret."""
    keys = [{"secret_key": "ab" * 32}, {"secret_key": "cd" * 32}, {}]
    containers = list[str]()
    for store in keys:
        with running(tmp_path, {**SETTINGS, "store": store}) as berth, connected(berth) as client:
            if not containers:
                containers = [client.post("/containers", json=NEW).json()["id"] for _ in keys]
            assert client.get(f"/containers/{containers[-1]}").json()["status"] == "running"
            assert client.delete(f"/containers/{containers.pop()}").status_code == 200
            assert leaks(tmp_path, [MARKER, "ab" * 32, "cd" * 32]) == []
        assert "call.failed" not in [event["event"] for event in berth.events()]
