"""Writes the Envoy configurations for deployments, with the functions that `berth up` uses.

`tests/unit/test_envoy_config.py` fails if one of them is stale.
"""

import json
from pathlib import Path

from berth.rest.envoy.bootstrap import bootstrap, envoy_filter, to_yaml
from berth.rest.envoy.edge import EdgeSettings, Tls
from berth.rest.envoy.secrets import referring_secrets

FOLDER = Path(__file__).resolve().parent

LOCAL = EdgeSettings(admin_port=9901, access_log_path="/dev/stdout")
EDGE = EdgeSettings(
    rest_host="0.0.0.0",  # noqa: S104 - an edge accepts connections from other machines
    rest_port=8443,
    services=(("berth", 50051),),
    admin_port=9901,
    access_log_path="/dev/stdout",
    tls=Tls("/etc/berth/tls/tls.crt", "/etc/berth/tls/tls.key", secrets_folder="/etc/envoy/secrets"),
)
SIDECAR = EdgeSettings()


def configurations() -> dict[str, str]:
    """Return the text of each file, by file name."""
    documents = {
        "local.yaml": bootstrap(LOCAL),
        "edge.yaml": bootstrap(EDGE),
        "sidecar.yaml": envoy_filter(SIDECAR),
    }
    texts = {name: f"# Written by envoy/generate.py.\n{to_yaml(document)}" for name, document in documents.items()}
    secrets = referring_secrets(EDGE.tls) if EDGE.tls else {}
    return texts | {f"secrets/{name}": f"{json.dumps(secret, indent=2)}\n" for name, secret in secrets.items()}


if __name__ == "__main__":
    for name, text in configurations().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text)
