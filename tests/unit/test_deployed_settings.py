"""The configurations of deployments with PostgreSQL: Berth accepts them, with secrets of the documented form."""

from pathlib import Path

import pytest
import yaml

from berth.config import load
from support.deployments.helm import CHART, needs_helm, render

EXAMPLES = CHART.parent / "examples"
COMPOSE = CHART.parents[1] / "docker" / "replicas" / "berth.yaml"
SECRETS = {
    "store-url": "postgresql://berth:secret@postgres.example.com:5432/berth",
    "limits-url": "valkeys://:secret@valkey.example.com:6379/0",
    "direct-key-secret": "0123456789abcdef" * 4,
    "team-a": f"sk-bf-{'0123456789ab' * 4}",
}


def accepted(text: str, place: str, folder: Path) -> None:
    """Load a configuration that refers to secrets in `place`."""
    for name, value in SECRETS.items():
        for spelled in (name, name.replace("-", "_")):
            (folder / spelled).write_text(f"{value}\n")
    path = folder / "berth.yaml"
    path.write_text(text.replace(place, str(folder)))
    config = load(path, {})
    assert config.store.url is not None
    assert config.blobs_url().startswith("s3://")


@needs_helm
@pytest.mark.parametrize("name", ["replicas", "edge", "istio"])
def test_berth_accepts_the_configuration_of_a_chart(name: str, tmp_path: Path) -> None:
    """Each example with several pods is a configuration that Berth starts with."""
    release = render(yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text()))
    accepted(release.named("ConfigMap")["data"]["berth.yaml"], "/etc/berth-secrets", tmp_path)


def test_berth_accepts_the_configuration_of_the_compose_file(tmp_path: Path) -> None:
    """Each Berth of the compose file starts with its configuration."""
    accepted(COMPOSE.read_text(), "/run/secrets", tmp_path)
