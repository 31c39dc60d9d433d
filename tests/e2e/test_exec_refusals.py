"""What an operator and a tenant see if commands are refused: each what they may know, when it begins."""

from pathlib import Path

import httpx2
import pytest

from support.sandboxes.needed import BY_ITSELF, needs_sandbox
from support.servers.berth import KEY_A, KEY_B, Berth, running
from support.servers.process import refused_berth

FIRST = {"name": "a", "value": KEY_A, "tenant": "a"}
SECOND = {"name": "b", "value": KEY_B, "tenant": "b"}


def asked(berth: Berth, key: str = KEY_A) -> tuple[int, str]:
    """Create a container and run a command in it; return the status, and the error's message."""
    with httpx2.Client(base_url=f"{berth.rest}/v1", headers={"x-api-key": key}, timeout=60) as client:
        box = client.post("/containers", json={"name": "box"}).json()["id"]
        answer = client.post(f"/containers/{box}/execs", json={"command": "true"})
        return answer.status_code, answer.json().get("error", {}).get("message", "")


@needs_sandbox
def test_the_log_says_when_a_second_tenant_ends_commands(tmp_path: Path) -> None:
    """A key of a second tenant has commands refused, and its end allows them again; each is one line of the log."""
    settings = {"default_provider": "ollama", "auth": {"virtual_keys": [FIRST]}}
    files = ("--config", str(tmp_path / "berth.yaml"), "--data-dir", str(tmp_path / "data"))
    with running(tmp_path, settings, inside=BY_ITSELF) as berth:
        assert asked(berth)[0] == 200
        assert [line for line in berth.events() if line["event"] in {"exec.off", "exec.on"}] == []
        assert refused_berth("keys", "create", "--name", "c", "--tenant", "b", *files)[0] == 0
        assert [asked(berth)[0] for _ in range(2)] == [400, 400]
        assert refused_berth("keys", "revoke", "c", *files)[0] == 0
        assert asked(berth)[0] == 200
        berth.lines(event="exec.on")
        (off,) = berth.lines(event="exec.off")
    assert "several tenants" in off["reason"]
    assert "exec.accept_shared_kernel" in off["reason"]


@needs_sandbox
@pytest.mark.parametrize(
    ("keys", "listen", "reason"),
    [([FIRST, SECOND], {}, "several tenants"), ([FIRST], {"trusted_hops": 1}, "beyond loopback")],
)
def test_the_log_says_at_the_start_that_commands_are_refused(
    keys: list[dict[str, str]], listen: dict[str, int], reason: str, tmp_path: Path
) -> None:
    """An operator need not run a command to find out that the kernel may not be shared."""
    settings = {"auth": {"virtual_keys": keys}, "listen": listen}
    with running(tmp_path, settings, inside=BY_ITSELF) as berth:
        (off,) = berth.lines(event="exec.off")
    assert reason in off["reason"]


def test_a_tenant_does_not_see_where_things_are(tmp_path: Path) -> None:
    """The log has the path of what does not work, as a warning; the error has the name of the setting."""
    missing = tmp_path / "runtime"
    settings = {
        "default_provider": "ollama",
        "auth": {"virtual_keys": [FIRST]},
        "exec": {"runtime": str(missing), "driver": "bubblewrap"},
    }
    with running(tmp_path, settings, inside=BY_ITSELF) as berth:
        status, message = asked(berth)
        (off,) = berth.lines(event="exec.off")
    assert (status, str(tmp_path) in message) == (400, False)
    assert "exec.runtime is no runtime: it does not exist" in message
    assert (off["level"], f"{missing} is no runtime" in off["reason"]) == ("warning", True)
