"""What is in deploy/: each file parses, and the settings, variables, commands and options in it and its pages exist."""

import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from berth.cli import commands
from berth.config import Config, load

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
HELM = DEPLOY / "helm"
FILES = sorted(path for path in [*DEPLOY.rglob("*"), *(ROOT / "docs" / "deployment").glob("*.md")] if path.is_file())
OTHER_VARIABLES = {"BERTH_CONFIG", "BERTH_ENVOY"}
"""Variables that are no settings."""
INSTRUCTIONS = {"FROM", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK"}
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}

files = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))


def documents(path: Path) -> list[Any]:
    return list(yaml.safe_load_all(path.read_text()))


def test_every_manifest_is_yaml() -> None:
    """Each manifest is one document, and says what it is; those of the chart are templates, and rules have groups."""
    for path in set(DEPLOY.rglob("*.yaml")) - set(HELM.rglob("*.yaml")):
        (document,) = documents(path)
        assert {"kind", "services", "listen", "groups"} & document.keys(), path


@files
def test_every_variable_is_a_setting(path: Path) -> None:
    """Each variable that begins with BERTH_ is one that Berth reads."""
    for variable in set(re.findall(r"\bBERTH_[A-Z_]+\b", path.read_text())) - OTHER_VARIABLES:
        model: Any = Config
        for name in variable.removeprefix("BERTH_").lower().split("__"):
            assert name in model.model_fields, variable
            model = model.model_fields[name].annotation


def called(text: str) -> Iterator[list[str]]:
    """Yield the arguments of each call of `berth` in a text, in which a backslash continues a line."""
    for line in text.replace("\\\n", " ").splitlines():
        for call in re.findall(r"(?:^|[ /`=])berth (?:berth )?([a-z][^`|>&:;,()]*)", line):
            yield call.split()


@files
def test_every_option_exists(path: Path) -> None:
    """Each call of a command of `berth` has options that the command has."""
    group: Any = typer.main.get_command(commands)
    for name, *arguments in called(path.read_text()):
        if name in group.commands and any(argument.startswith("--") for argument in arguments):
            command = group.commands[name]
            command = command.commands[arguments[0]] if hasattr(command, "commands") else command
            known = {option for parameter in command.params for option in parameter.opts}
            assert {argument for argument in arguments if argument.startswith("--")} <= known, (name, arguments)


def test_the_unit_has_no_setting_twice() -> None:
    """The unit parses, keeps Envoy out of SIGTERM, and waits longer than a stop takes."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # names have capitals
    parser.read(DEPLOY / "systemd" / "berth@.service")
    service = parser["Service"]
    assert (service["KillMode"], service["Restart"], service["Type"]) == ("mixed", "on-failure", "exec")
    assert int(service["TimeoutStopSec"]) > 60
    assert service["ExecStart"].endswith("berth up --replace")


def test_the_image_has_instructions_that_exist() -> None:
    """Each line of the Dockerfile is an instruction, and what it copies exists; it runs as a user with a number."""
    text = (DEPLOY / "docker" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line.split() for line in text.splitlines() if line and not line.startswith("#")]
    assert {line[0] for line in lines} == INSTRUCTIONS | {"ENTRYPOINT", "CMD"}
    for _, *sources, _ in [line for line in lines if line[0] == "COPY" and not line[1].startswith("--")]:
        assert all((ROOT / source).exists() for source in sources)
    assert ["USER", "54321:54321"] in lines


def containers() -> Iterator[dict[str, Any]]:
    """Yield the containers of all pods."""
    for path in (KUBERNETES / "base" / "deployment.yaml", KUBERNETES / "sidecar" / "envoy.patch.yaml"):
        yield from documents(path)[0]["spec"]["template"]["spec"]["containers"]


def test_pods_are_restricted() -> None:
    """Pods have what the restricted Pod Security Standard asks for, a read-only root, one replica, and time to stop."""
    (deployment,) = documents(KUBERNETES / "base" / "deployment.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert (deployment["spec"]["replicas"], deployment["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["terminationGracePeriodSeconds"] >= 5 + 60
    contexts = [each["securityContext"] for each in containers() if "image" in each]
    assert contexts == [RESTRICTED, RESTRICTED]


def test_the_configuration_of_the_pod_is_valid(tmp_path: Path) -> None:
    """Berth accepts the configuration, with a key of the form that the page creates."""
    text = (KUBERNETES / "base" / "berth.yaml").read_text()
    (tmp_path / "team-a").write_text(f"sk-bf-{'0123456789ab' * 4}")
    path = tmp_path / "berth.yaml"
    path.write_text(text.replace("/etc/berth-keys", str(tmp_path)))
    config = load(path, {})
    assert str(config.data_dir) == "/data/berth"
    assert config.listen.allow_plaintext


def test_the_health_check_fails_without_an_answer() -> None:
    """Without a server the check ends with 1, and says at which address."""
    check = [sys.executable, str(DEPLOY / "docker" / "health.py"), "127.0.0.1:1"]
    done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "no answer from 127.0.0.1:1: UNAVAILABLE\n")
