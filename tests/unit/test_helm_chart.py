"""The chart in deploy/helm: what it renders is valid and fits together, and bad values are refused."""

import json
import runpy
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it has no annotations for others
import pytest
import typer
import yaml

from berth.cli import commands
from berth.config import load
from berth.rest.envoy.bootstrap import envoy_filter
from berth.rest.envoy.edge import EdgeSettings
from support.deployments.helm import (
    CHART,
    KUBERNETES,
    NAMESPACE,
    RELEASE,
    Rendered,
    containers,
    needs_helm,
    render,
    run_helm,
)

FOLDER = CHART.parent
OTHERS_KINDS = {"ServiceMonitor", "EnvoyFilter"}
"""Kinds that are no part of Kubernetes, of which the validator has no schema."""
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
EXAMPLES = {path.stem: yaml.safe_load(path.read_text()) for path in (FOLDER / "examples").glob("*.yaml")}
SHARED: dict[str, Any] = {
    "store": {"url": "env:STORE_URL"},
    "blobs": {"url": "gs://files/berth"},
    "auth": {"direct_key_secret": "env:DIRECT_KEY_SECRET"},
}
"""What more than one pod needs."""
CASES: dict[str, dict[str, Any]] = {
    **EXAMPLES,
    "no values": {},
    "sidecar": {"envoy": {"mode": "sidecar", "trustedHops": 2}, "tls": {"secretName": "berth-tls"}},
    "TLS": {"tls": {"secretName": "berth-tls"}, "metrics": {"enabled": False}},
    "OpenShift": {"podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None}},
    "everything": {
        "image": {"repository": "registry.example.com/berth", "digest": f"sha256:{'0' * 64}", "pullSecrets": ["pull"]},
        "fullnameOverride": "containers",
        "replicas": 2,
        "workers": 4,
        "config": SHARED
        | {"hosted": {"max_container_bytes": 4_294_967_296}, "listen": {"ipv6_only": True}, "rest": {"max_calls": 200}},
        "secrets": {"existingSecret": "berth", "files": {"team-a": "sk-bf-a", "team-b": "sk-bf-b"}},
        "env": [{"name": "AWS_REGION", "value": "eu-west-1"}],
        "envFrom": [{"secretRef": {"name": "berth-environment"}}],
        "envoy": {"mode": "edge", "image": "envoyproxy/envoy:v1.40-latest"},
        "bindAddress": "[::]",
        "networkPolicy": {
            "grpcClients": [{"podSelector": {"matchLabels": {"app": "agent"}}}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"port": 5432}]}],
        },
        "podDisruptionBudget": {"maxUnavailable": "25%"},
        "podLabels": {"team": "agents"},
        "podAnnotations": {"example.com/scrape": "no"},
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [
            {"topologyKey": "topology.kubernetes.io/zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "priorityClassName": "high",
    },
    "existing volume": {"persistence": {"existingClaim": "old"}, "serviceAccount": {"create": False}},
    "storage class": {"persistence": {"storageClass": "fast", "accessMode": "ReadWriteOncePod"}},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a value that does not exist": ({"replica": 3}, "'replica' not allowed"),
    "a setting that does not exist": ({"config": {"listen": {"max_json_byte": 1}}}, "'max_json_byte' not allowed"),
    "a setting of another type": ({"config": {"idempotency": {"hours": "long"}}}, "/config/idempotency/hours"),
    "no pod": ({"replicas": 0}, "/replicas"),
    "half a pod": ({"replicas": 1.5}, "/replicas"),
    "an unknown mode": ({"envoy": {"mode": "gateway"}}, "/envoy/mode"),
    "a digest that was cut": ({"image": {"digest": "sha256:abc"}}, "/image/digest"),
    "several pods on SQLite": ({"replicas": 2}, "config.store.url"),
    "several pods on a SQLite that is named": (
        {"replicas": 2, "config": SHARED | {"store": {"url": "sqlite:////data/berth.db"}}},
        "config.store.url",
    ),
    "several pods with a folder": ({"replicas": 2, "config": SHARED | {"blobs": {}}}, "config.blobs.url"),
    "several pods with a folder that is named": (
        {"replicas": 2, "config": SHARED | {"blobs": {"url": "file:///data/blobs"}}},
        "config.blobs.url",
    ),
    "more pods under load on SQLite": ({"autoscaling": {"enabled": True}}, "config.store.url"),
    "several pods, each with a secret of its own": (
        {"replicas": 2, "config": SHARED | {"auth": {}}},
        "config.auth.direct_key_secret",
    ),
    "an address that the chart sets": ({"config": {"listen": {"grpc": "0.0.0.0:1"}}}, "config.listen.grpc"),
    "a data folder": ({"config": {"data_dir": "/srv"}}, "config.data_dir"),
    "a certificate of the service with a sidecar": (
        {"envoy": {"mode": "sidecar"}, "config": {"tls": {"certificate": "/a", "key": "/b"}}},
        "tls.secretName",
    ),
    "a mesh and an Envoy": ({"istio": {"envoyFilter": True}}, "envoy.mode none"),
    "fewer pods at most than at least": (
        {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}, "config": SHARED},
        "autoscaling.minReplicas",
    ),
}

pytestmark = needs_helm


@pytest.fixture(scope="module")
def rendered() -> dict[str, Rendered]:
    """Render all cases, good and bad ones."""
    values = CASES | {name: values for name, (values, _) in REFUSED.items()}
    return {name: render(each) for name, each in values.items()}


@pytest.fixture(params=[*CASES])
def release(request: pytest.FixtureRequest, rendered: dict[str, Rendered]) -> Rendered:
    """Return what each of the good values makes."""
    release = rendered[request.param]
    assert release.error is None
    return release


def test_kubernetes_accepts_the_manifests(release: Rendered) -> None:
    """Each manifest has the schema of its kind, without any unknown field."""
    for manifest in release.manifests:
        if manifest["kind"] not in OTHERS_KINDS:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


def test_pods_are_restricted(release: Rendered) -> None:
    """All containers have what the restricted Pod Security Standard asks for, a read-only root and bounded memory."""
    for pod in release.pods():
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["spec"]["automountServiceAccountToken"]
        for container in containers(pod):
            assert container["securityContext"] == RESTRICTED
            assert container["resources"]["limits"]["memory"]


def test_volumes_and_ports_exist(release: Rendered) -> None:
    """What containers mount is a volume of the pod, every volume is mounted, and names of ports are unique."""
    for pod in release.pods():
        mounted = {mount["name"] for container in containers(pod) for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]}
        names = [port["name"] for container in containers(pod) for port in container.get("ports", [])]
        assert len(names) == len(set(names))


def ports_of(pod: Any) -> set[str]:
    return {port["name"] for container in containers(pod) for port in container.get("ports", [])}


def selected(release: Rendered, selector: dict[str, str]) -> Any:
    """Return the only pod with these labels."""
    (pod,) = [pod for pod in release.pods() if selector.items() <= pod["metadata"]["labels"].items()]
    return pod


def test_everything_selects_pods(release: Rendered) -> None:
    """Services, disruption budgets, policies and the autoscaler refer to pods and ports of the release."""
    for service in release.of_kind("Service"):
        targets = {port["targetPort"] for port in service["spec"]["ports"]}
        assert targets <= ports_of(selected(release, service["spec"]["selector"]))
    for budget in release.of_kind("PodDisruptionBudget"):
        selected(release, budget["spec"]["selector"]["matchLabels"])
    for policy in release.of_kind("NetworkPolicy"):
        pod = selected(release, policy["spec"]["podSelector"]["matchLabels"])
        admitted = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert admitted == ports_of(pod)
    for scaler in release.of_kind("HorizontalPodAutoscaler"):
        release.named("Deployment", scaler["spec"]["scaleTargetRef"]["name"])
    for monitor in release.of_kind("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = [each for each in release.of_kind("Service") if labels <= each["metadata"]["labels"].items()]
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def test_a_pod_has_time_to_stop(release: Rendered) -> None:
    """The grace period is longer than the wait before the stop, and what Envoy and the service may take after it."""
    for pod in release.pods():
        has_service = any(container["name"] == "berth" for container in containers(pod))
        serves_rest = any("http" in ports_of({"spec": {"containers": [each]}}) for each in containers(pod))
        needed = 5 + 30 * (has_service + serves_rest)
        assert pod["spec"]["terminationGracePeriodSeconds"] >= needed + 5
        (last,) = pod["spec"]["containers"]
        assert last["lifecycle"]["preStop"]


def test_only_one_pod_uses_a_volume(release: Rendered) -> None:
    """With a volume there is one pod, which stops before its successor starts; without one, no pod stops too early."""
    (deployment,) = [each for each in release.of_kind("Deployment") if not each["metadata"]["name"].endswith("-edge")]
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    if any("persistentVolumeClaim" in volume for volume in volumes):
        assert deployment["spec"]["replicas"] == 1
        assert deployment["spec"]["strategy"] == {"type": "Recreate"}
    else:
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_commands_and_options_exist(release: Rendered) -> None:
    """Berth has each command and each option that a container is started with."""
    group: Any = typer.main.get_command(commands)
    for pod in release.pods():
        (service,) = [*containers(pod, "berth")] or [{"args": ["serve"]}]
        written = [each["args"][0].split()[2:] for each in containers(pod, "envoy-config")]
        for name, *arguments in [service["args"], *written]:
            known = {option for parameter in group.commands[name].params for option in parameter.opts}
            assert {each for each in arguments if each.startswith("--")} <= known


def test_probes_ask_for_the_health_of_the_service(rendered: dict[str, Rendered]) -> None:
    """A database that is away makes pods not ready, but restarts none; with TLS only the port is probed."""
    service = rendered["replicas"].container("berth")
    assert service["readinessProbe"]["grpc"] == {"port": 50051}
    assert service["livenessProbe"]["grpc"] == {"port": 50051, "service": "berth.v1.ContainerService"}
    assert rendered["TLS"].container("berth")["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert "grpc" in rendered["sidecar"].container("berth")["livenessProbe"]


def settings_of(release: Rendered, key: str = "berth.yaml") -> str:
    (config_map,) = release.of_kind("ConfigMap")
    return str(config_map["data"][key])


def test_berth_accepts_the_configuration(rendered: dict[str, Rendered], tmp_path: Path) -> None:
    """Berth reads the configuration of one pod, with a key of the form that the page creates."""
    (tmp_path / "team-a").write_text(f"sk-bf-{'0123456789ab' * 4}")
    path = tmp_path / "berth.yaml"
    path.write_text(settings_of(rendered["single"]).replace("/etc/berth-secrets", str(tmp_path)))
    config = load(path, {})
    assert (str(config.data_dir), str(config.listen.rest)) == ("/data/berth", "0.0.0.0:8080")
    assert config.auth.virtual_keys[0].tenant == "a"


def test_large_numbers_stay_as_they_are(rendered: dict[str, Rendered]) -> None:
    """Helm reads numbers as floats; in the configuration they are integers again."""
    assert "max_container_bytes: 4294967296" in settings_of(rendered["everything"])


def test_envoy_has_the_addresses_of_the_configuration(rendered: dict[str, Rendered]) -> None:
    """Envoy listens on the address for REST as the service's settings have it."""
    berth, envoy = (yaml.safe_load(settings_of(rendered["everything"], name)) for name in ("berth.yaml", "envoy.yaml"))
    for name in ("rest", "ipv6_only"):
        assert berth["listen"][name] == envoy["listen"][name]


def test_envoy_has_the_limit_of_calls(rendered: dict[str, Rendered]) -> None:
    """A limit in the settings of the service counts for the Envoy of the chart."""
    assert yaml.safe_load(settings_of(rendered["everything"], "envoy.yaml"))["rest"] == {"max_calls": 200}


def test_callers_are_seen_through_the_balancers(rendered: dict[str, Rendered]) -> None:
    """An edge is one balancer more to the service; a sidecar is on the same machine."""
    edge, sidecar = rendered["edge"], rendered["sidecar"]
    for release, hops in ((edge, (1, 0)), (sidecar, (2, 2))):
        both = [yaml.safe_load(settings_of(release, name)) for name in ("berth.yaml", "envoy.yaml")]
        assert tuple(each["listen"]["trusted_hops"] for each in both) == hops


def test_a_changed_configuration_replaces_pods() -> None:
    """The annotation of a pod follows its configuration and the secrets of the chart, and nothing else."""
    values: list[dict[str, Any]] = [
        {},
        {"config": {"cache": {"seconds": 1}}},
        {"secrets": {"files": {"a": "b"}}},
        {"service": {"type": "NodePort"}},
    ]
    plain, changed, secret, service = [
        release.named("Deployment")["spec"]["template"]["metadata"]["annotations"] for release in map(render, values)
    ]
    assert plain == service
    assert plain["checksum/config"] != changed["checksum/config"]
    assert plain["checksum/secrets"] != secret["checksum/secrets"]


def test_the_envoy_filter_is_that_of_the_command(rendered: dict[str, Rendered]) -> None:
    """It has the patches that `berth envoy-config --istio` prints, for the gRPC port of the pods of the release."""
    (resource,) = rendered["istio"].of_kind("EnvoyFilter")
    assert resource["spec"]["configPatches"] == envoy_filter(EdgeSettings())["spec"]["configPatches"]
    pod = selected(rendered["istio"], resource["spec"]["workloadSelector"]["labels"])
    assert {"name": "grpc", "containerPort": 50051} in next(containers(pod, "berth"))["ports"]


@pytest.mark.parametrize("name", [*REFUSED])
def test_bad_values_are_refused(rendered: dict[str, Rendered], name: str) -> None:
    """What cannot work is refused before anything is installed, and the message names the value."""
    error = rendered[name].error
    assert error is not None
    assert REFUSED[name][1] in error


def test_notes_say_what_is_missing() -> None:
    """After an installation Helm says where the first key is, what is not encrypted, and what pods do not share."""
    assert "/data/berth/first-key" in notes("no values")
    assert "not encrypted" in notes("no values")
    assert "first-key" not in notes("single")
    assert "config.limits.url is not set" in notes("everything")


def notes(case: str) -> str:
    """Return what Helm says after an installation with the values of a case."""
    arguments = ("install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", "--output", "json")
    done = run_helm(*arguments, values=CASES[case])
    if "incompatible with Kubernetes" in done.stderr:
        pytest.skip("this helm was built without a version of Kubernetes")
    assert done.returncode == 0, done.stderr
    said: str = json.loads(done.stdout)["info"]["notes"]
    return said


def test_the_chart_has_the_version_of_berth() -> None:
    """The image that is used unless a tag is set is that of this version."""
    version = tomllib.loads((CHART.parents[2] / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_generated_files_are_fresh() -> None:
    """The schema of the values has the settings of this Berth, and the filter its contract."""
    for name, text in runpy.run_path(str(FOLDER / "generate.py"))["files"]().items():
        assert (CHART / name).read_text() == text, "run `python deploy/helm/generate.py`"


def closed(schema: Any, values: Any, depth: int = 0) -> Iterator[tuple[int, set[str], set[str]]]:
    """Yield for each object of the schema that lists its properties its depth, them, and the values that there are."""
    if "properties" in schema:
        yield depth, set(schema["properties"]) - {"global"}, set(values)
        for name, each in schema["properties"].items():
            if name in values:
                yield from closed(each, values[name], depth + 1)


def test_every_value_is_described() -> None:
    """The schema has exactly the values of values.yaml, and each of them follows a comment or contains some."""
    text = (CHART / "values.yaml").read_text()
    schema = json.loads((FOLDER / "values.schema.json").read_text())
    for depth, described, there in closed(schema, yaml.safe_load(text)):
        assert described == there
        indent = " " * 2 * depth
        for name in there:
            assert f".\n{indent}{name}:" in text or f"\n{indent}{name}:\n{indent}  # " in text, name


@pytest.mark.parametrize("case", CASES)
def test_helm_finds_no_fault(case: str) -> None:
    """`helm lint --strict` is content with the chart."""
    done = run_helm("lint", "--strict", str(CHART), values=CASES[case])
    assert done.returncode == 0, done.stdout + done.stderr
