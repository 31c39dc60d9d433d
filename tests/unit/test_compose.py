"""The compose files: what they name exists, secrets are files, and nothing but this machine reaches a port."""

import re
import shlex
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from berth.cli import commands
from berth.config import load

DOCKER = Path(__file__).parents[2] / "deploy" / "docker"
REPLICAS = DOCKER / "replicas"
FILES = {path.parent.name: path for path in (DOCKER / "compose.yaml", REPLICAS / "compose.yaml")}
LATEST = re.compile(r".*:latest|[^:]*")
OWN_IMAGE = "berth"
ROOT_USERS = {"postgres", "s3"}
"""Services of which the image needs to start as root."""


def services(path: Path) -> dict[str, Any]:
    """Return the services of a compose file."""
    found: dict[str, Any] = yaml.safe_load(path.read_text())["services"]
    return found


compose_files = pytest.mark.parametrize("path", [*FILES.values()], ids=[*FILES])


@compose_files
def test_ports_are_for_this_machine(path: Path) -> None:
    """Every published port is on 127.0.0.1."""
    published = [port for service in services(path).values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


@compose_files
def test_containers_are_confined(path: Path) -> None:
    """No process gains privileges; those of Berth and Envoy have none, a read-only root, and time to stop."""
    for name, service in services(path).items():
        assert service["security_opt"] == ["no-new-privileges:true"]
        if name not in ROOT_USERS:
            assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
            assert not service["user"].startswith("0")
        if service["image"] == OWN_IMAGE:
            assert int(service["stop_grace_period"].removesuffix("s")) >= 40


def test_everything_that_is_named_exists() -> None:
    """Networks, volumes, secrets and services are there; images have versions; all but Berth have a health check."""
    document = yaml.safe_load((REPLICAS / "compose.yaml").read_text())
    for service in document["services"].values():
        assert set(service["networks"]) <= document["networks"].keys()
        assert set(service.get("secrets", [])) <= document["secrets"].keys()
        assert service.get("depends_on", {}).keys() <= document["services"].keys()
        assert service["image"] == OWN_IMAGE or not LATEST.fullmatch(service["image"])
        assert "healthcheck" in service or "build" in service  # the image of Berth has its own
        named = [volume.partition(":")[0] for volume in service.get("volumes", [])]
        assert all((REPLICAS / each).exists() or each in document["volumes"] for each in named)
    assert document["networks"]["back"] == {"internal": True}
    inside = [service for service in document["services"].values() if service["networks"] == ["back"]]
    assert len(inside) == 3


def test_commands_of_berth_exist() -> None:
    """The services of Berth and Envoy run commands and options that there are."""
    group: Any = typer.main.get_command(commands)
    envoy, berth = (services(REPLICAS / "compose.yaml")[name]["command"] for name in ("envoy", "berth"))
    for name, *arguments in (berth, shlex.split(envoy[0])[1:]):
        known = {option for parameter in group.commands[name].params for option in parameter.opts}
        own = arguments[: arguments.index(">")] if ">" in arguments else arguments
        assert {each for each in own if each.startswith("--")} <= known


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Let the script write its secrets, twice."""
    folder = tmp_path_factory.mktemp("replicas") / "secrets"
    command = ["sh", str(REPLICAS / "secrets.sh"), str(folder)]
    subprocess.run(command, check=True, timeout=60)
    before = {path.name: path.read_text() for path in folder.iterdir()}
    subprocess.run(command, check=True, timeout=60)
    assert before == {path.name: path.read_text() for path in folder.iterdir()}
    return folder


def test_the_script_writes_all_secrets(secrets: Path) -> None:
    """It writes the files that the compose file names, in a folder for one user, and all differ."""
    named = yaml.safe_load((REPLICAS / "compose.yaml").read_text())["secrets"]
    assert {path.name for path in secrets.iterdir()} == named.keys()
    assert all(each["file"] == f"secrets/{name}" for name, each in named.items())
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    texts = [path.read_text() for path in secrets.iterdir()]
    assert len(texts) == len(set(texts))
    assert f":{(secrets / 'postgres_password').read_text().strip()}@postgres" in (secrets / "store_url").read_text()


def test_berth_accepts_the_other_settings(secrets: Path, tmp_path: Path) -> None:
    """Berth reads the configuration of the replicas, apart from the URL of the database, with these secrets."""
    text = (REPLICAS / "berth.yaml").read_text().replace("/run/secrets", str(secrets))
    settings = {name: value for name, value in yaml.safe_load(text).items() if name != "store"}
    (tmp_path / "berth.yaml").write_text(yaml.safe_dump(settings))
    config = load(tmp_path / "berth.yaml", {})
    assert config.limits.url is not None
    assert config.listen.trusted_hops == 1
    assert (config.blobs.url, config.blobs.endpoint) == ("s3://berth/content", "http://s3:7070")
