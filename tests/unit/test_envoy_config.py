"""Envoy's configuration, as far as it can be judged without Envoy."""

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from berth.rest.envoy.bootstrap import bootstrap, envoy_filter, to_yaml
from berth.rest.envoy.edge import MAX_INNER_CONNECTIONS, EdgeSettings, Tls, Tracing
from berth.rest.envoy.filters import http_filters, services
from berth.rest.view import load_contract, rest_view

VIEW = rest_view(load_contract())
FOLDER = Path(__file__).parents[2] / "envoy"


def listener(settings: EdgeSettings) -> Any:
    return bootstrap(settings)["static_resources"]["listeners"][0]


def manager(settings: EdgeSettings) -> Any:
    return listener(settings)["filter_chains"][0]["filters"][0]["typed_config"]


@pytest.mark.parametrize("name", ["local.yaml", "edge.yaml", "sidecar.yaml", "secrets/server.json"])
def test_shipped_configuration_is_fresh(name: str) -> None:
    """Each file in envoy/ is what `python envoy/generate.py` writes."""
    configurations = runpy.run_path(str(FOLDER / "generate.py"))["configurations"]()
    assert (FOLDER / name).read_text() == configurations[name], "run `python envoy/generate.py`"


def test_every_shipped_configuration_is_generated() -> None:
    """No file in envoy/ is written by hand."""
    configurations = runpy.run_path(str(FOLDER / "generate.py"))["configurations"]()
    shipped = [path for pattern in ("*.yaml", "*/*.json") for path in FOLDER.glob(pattern)]
    assert {str(path.relative_to(FOLDER)) for path in shipped} == set(configurations)


def test_yaml_says_what_the_document_says() -> None:
    """What is written as YAML is read as the same document, and scripts stand in it as blocks."""
    document = bootstrap(EdgeSettings())
    text = to_yaml(document)
    assert yaml.safe_load(text) == document
    assert "inline_string: |" in text


def test_admin_is_on_loopback_whatever_rest_is() -> None:
    """The admin interface never leaves 127.0.0.1, even where REST listens on every address."""
    admin = bootstrap(EdgeSettings(rest_host="::", admin_port=9901))["admin"]
    assert admin["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 9901}


def test_every_address_of_ipv6_includes_ipv4() -> None:
    """Unless it is for IPv6 only; other addresses have no such choice."""
    both = {"address": "::", "port_value": 8080, "ipv4_compat": True}
    assert listener(EdgeSettings(rest_host="::"))["address"]["socket_address"] == both
    alone = listener(EdgeSettings(rest_host="::", ipv6_only=True))["address"]["socket_address"]
    assert alone == {"address": "::", "port_value": 8080}
    assert "ipv4_compat" not in listener(EdgeSettings(rest_host="::1"))["address"]["socket_address"]


def test_admin_can_be_a_socket() -> None:
    """With a socket the admin interface is on no port, and only its owner may open it."""
    admin = bootstrap(EdgeSettings(admin_socket="admin"))["admin"]
    assert admin["address"] == {"pipe": {"path": "admin", "mode": 0o600}}


def test_limits_are_below_those_of_the_service() -> None:
    """Envoy refuses before grpc does: 20 MiB out of 24, 32 KiB of headers out of 96, 900 calls of 2048."""
    chain = {one["name"].rpartition(".")[2]: one["typed_config"] for one in http_filters(EdgeSettings(), VIEW)}
    assert chain["grpc_json_transcoder"]["max_response_body_size"] == 20_971_520
    assert manager(EdgeSettings())["max_request_headers_kb"] == 32
    cluster = bootstrap(EdgeSettings())["static_resources"]["clusters"][0]
    assert cluster["circuit_breakers"]["thresholds"][0]["max_requests"] == 900


def test_calls_have_a_limit_of_their_own() -> None:
    """It does not count transfers and commands."""
    calls, transfers = (
        cluster["circuit_breakers"]["thresholds"][0]
        for cluster in bootstrap(EdgeSettings(max_calls=7))["static_resources"]["clusters"]
    )
    assert (calls["max_requests"], transfers["max_requests"]) == (7, 900)


def test_health_checks_have_limits_of_their_own() -> None:
    """Over REST and gRPC they have another priority than calls, and none that others have."""
    routes = manager(EdgeSettings())["route_config"]["virtual_hosts"][0]["routes"]
    for path in ("/healthz", "/readyz", "/grpc.health.v1.Health/Check"):
        found = next(route for route in routes if _matches(route["match"], "GET", path))
        assert found["route"]["priority"] == "HIGH"
    for path in ("/healthz/x", "/v1/containers", "/grpc.health.v1.Health/Watch"):
        found = next(route for route in routes if _matches(route["match"], "GET", path))
        assert "priority" not in found["route"]
    thresholds = bootstrap(EdgeSettings())["static_resources"]["clusters"][0]["circuit_breakers"]["thresholds"]
    assert [(one.get("priority"), one["max_requests"]) for one in thresholds] == [(None, 900), ("HIGH", 128)]


def test_over_http1_each_request_has_a_connection() -> None:
    """Trailers carry the status; connections suffice for all requests, and few descriptors mean fewer requests."""
    settings = EdgeSettings(grpc_sockets=("grpc",), over_http1=True)
    cluster = bootstrap(settings)["static_resources"]["clusters"][0]
    (options,) = cluster["typed_extension_protocol_options"].values()
    assert options["explicit_http_config"] == {"http_protocol_options": {"enable_trailers": True}}
    limits = cluster["circuit_breakers"]["thresholds"][0]
    assert (limits["max_requests"], limits["max_connections"]) == (900, 1800)
    few = settings.within(384, 384)
    assert (few.max_requests, few.max_connections) == (96, 384)
    assert EdgeSettings().within(768, 0) == EdgeSettings(max_connections=768)
    assert settings.within(20_000, MAX_INNER_CONNECTIONS) == settings


def test_long_transfers_are_not_cut() -> None:
    """No timeout counts the whole of a request; headers have 10 s, and a silent stream 300 s."""
    config = manager(EdgeSettings())
    assert config["route_config"]["virtual_hosts"][0]["routes"][-1]["route"]["timeout"] == "0s"
    assert (config["request_timeout"], config["stream_idle_timeout"]) == ("0s", "300s")
    assert config["request_headers_timeout"] == "10s"


def test_cors_is_off_unless_origins_are_named() -> None:
    """Without origins there is no policy; with some, exactly these are allowed."""
    assert "typed_per_filter_config" not in manager(EdgeSettings())["route_config"]["virtual_hosts"][0]
    host = manager(EdgeSettings(cors_origins=("https://a.example",)))["route_config"]["virtual_hosts"][0]
    policy = host["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert policy["allow_origin_string_match"] == [{"exact": "https://a.example"}]


def test_traces_are_configured_only_if_there_is_a_collector() -> None:
    """Without one there is no word of tracing; with one there is its cluster, and a part of the traces is recorded."""
    assert "telemetry" not in str(bootstrap(EdgeSettings()))
    assert "tracing" not in manager(EdgeSettings())
    settings = EdgeSettings(tracing=Tracing("https://collector.example", sampling_ratio=0.25))
    provider = manager(settings)["tracing"]["provider"]["typed_config"]
    by_ratio = provider["sampler"]["typed_config"]["wrapped_sampler"]["typed_config"]
    assert by_ratio["sampling_percentage"] == {"numerator": 250_000, "denominator": "MILLION"}
    *_, cluster = bootstrap(settings)["static_resources"]["clusters"]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert address == {"address": "collector.example", "port_value": 443}


def test_successes_can_be_sampled_in_the_access_log() -> None:
    """A part of the statuses below 400 is logged, or only those from 500 on."""
    sampled = str(manager(EdgeSettings(logged_successes=0.5))["access_log"][0]["filter"])
    assert "{'numerator': 500000, 'denominator': 'MILLION'}" in sampled
    failures = manager(EdgeSettings(logs_failures_only=True))["access_log"][0]["filter"]["and_filter"]["filters"][-1]
    assert failures["status_code_filter"]["comparison"]["value"]["default_value"] == 500


def test_access_log_can_be_left_out() -> None:
    """Without a path there is no access log; with one, no field of it is a key, a query or a body."""
    assert manager(EdgeSettings(access_log_path=None))["access_log"] == []
    line = manager(EdgeSettings())["access_log"][0]["typed_config"]["log_format"]["json_format"]
    assert line["path"] == "%PATH(NQ:ORIG_OR_PATH):256%"
    assert not re.search("AUTHORIZATION|API-KEY|X-BF|COOKIE", str(line), re.IGNORECASE)


def test_upstream_may_be_a_name() -> None:
    """An address is used as it is, a name is resolved."""

    def kind(host: str) -> object:
        return bootstrap(EdgeSettings(grpc_host=host))["static_resources"]["clusters"][0]["type"]

    assert (kind("127.0.0.1"), kind("::1"), kind("berth")) == ("STATIC", "STATIC", "STRICT_DNS")


def test_certificate_is_optional() -> None:
    """There is TLS exactly where there is a certificate."""
    assert "transport_socket" not in listener(EdgeSettings())["filter_chains"][0]
    chain = listener(EdgeSettings(tls=Tls("a.crt", "a.key")))["filter_chains"][0]
    tls = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert tls["tls_certificates"][0]["certificate_chain"] == {"filename": "a.crt"}


def test_a_handshake_has_ten_seconds() -> None:
    """A connection that does not finish its TLS handshake is closed after 10 s, and after 1 s on a full listener."""
    document = bootstrap(EdgeSettings(tls=Tls("a.crt", "a.key")))
    (chain,) = document["static_resources"]["listeners"][0]["filter_chains"]
    assert chain["transport_socket_connect_timeout"] == "10s"
    timers = document["overload_manager"]["actions"][0]["typed_config"]["timer_scale_factors"]
    assert {"timer": "TRANSPORT_SOCKET_CONNECT", "min_timeout": "1s"} in timers


@pytest.mark.parametrize(
    ("client_ca", "sockets", "seconds"), [("ca.crt", (), "600s"), ("ca.crt", ("grpc",), None), (None, (), None)]
)
def test_certificates_are_verified_again(client_ca: str | None, sockets: tuple[str, ...], seconds: str | None) -> None:
    """Where the service cannot check client certificates on every call, their connections end after ten minutes."""
    config = manager(EdgeSettings(grpc_sockets=sockets, tls=Tls("a.crt", "a.key", client_ca_path=client_ca)))
    assert config["common_http_protocol_options"].get("max_connection_duration") == seconds
    assert config["http1_safe_max_connection_duration"] is True


def test_nothing_collects_a_body() -> None:
    """No filter of Envoy's waits for a body: it goes through to the service as it comes."""
    names = {one["name"] for one in http_filters(EdgeSettings(), VIEW)}
    assert "envoy.filters.http.buffer" not in names


@pytest.mark.parametrize("document", [bootstrap(EdgeSettings()), envoy_filter(EdgeSettings())])
def test_paths_are_judged_as_they_are_sent(document: Any) -> None:
    """Neither Envoy nor the sidecar of a mesh, which would by default, normalises a path before the service sees it."""
    assert "'normalize_path': False" in str(document)
    assert "'merge_slashes': True" not in str(document)
    assert "'path_with_escaped_slashes_action': 'KEEP_UNCHANGED'" in str(document)


def test_trusted_hops() -> None:
    """Envoy believes as many balancers as the settings say, and none by default."""
    assert manager(EdgeSettings())["xff_num_trusted_hops"] == 0
    assert manager(EdgeSettings(trusted_hops=2))["xff_num_trusted_hops"] == 2


def test_all_services_are_transcoded() -> None:
    """Every service of the contract answers REST."""
    names = services(rest_view(load_contract()))
    assert {"berth.v1.ContainerService", "berth.v1.ContainerFileService"} <= set(names)


def test_sidecar_has_the_same_filters_in_the_same_order() -> None:
    """The sidecar gets each filter of the edge, one behind the other, before its router, on the port of gRPC."""
    patches = envoy_filter(EdgeSettings(grpc_port=50055))["spec"]["configPatches"]
    inserted = [patch["patch"]["value"] for patch in patches if patch["applyTo"] == "HTTP_FILTER"]
    assert inserted == http_filters(EdgeSettings(grpc_port=50055), VIEW)
    assert {patch["match"]["context"] for patch in patches} == {"SIDECAR_INBOUND"}
    assert "50051" not in to_yaml({"patches": patches})


@pytest.mark.parametrize("required", [True, False])
def test_callers_certificates_are_checked(*, required: bool) -> None:
    """With an authority callers are asked for certificates, and the service is told of them by Envoy alone."""
    tls = Tls("a.crt", "a.key", client_ca_path="ca.crt", require_client_certificate=required)
    chain = listener(EdgeSettings(tls=tls))["filter_chains"][0]
    context = chain["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is required
    assert context["common_tls_context"]["validation_context"] == {"trusted_ca": {"filename": "ca.crt"}}
    manager = chain["filters"][0]["typed_config"]
    assert manager["forward_client_cert_details"] == "SANITIZE_SET"
    assert manager["set_current_client_cert_details"] == {"chain": True}


def test_without_an_authority_nobody_is_believed() -> None:
    """What callers say of certificates of theirs is taken off."""
    manager = listener(EdgeSettings())["filter_chains"][0]["filters"][0]["typed_config"]
    assert manager["forward_client_cert_details"] == "SANITIZE"


@pytest.mark.parametrize(
    ("method", "path", "is_transfer"),
    [
        ("POST", "/v1/containers/cntr_1/files", True),
        ("POST", "/openai/v1/files", True),
        ("GET", "/v1/containers/cntr_1/files", False),
        ("GET", "/v1/containers/cntr_1/files/cfile_1/content", True),
        ("POST", "/berth.v1.ContainerFileService/CreateContainerFile", True),
        ("POST", "/berth.v1.FileService/RetrieveFileContent", True),
        ("POST", "/v1/containers", False),
        ("GET", "/v1/containers/content/files", False),
        ("GET", "/", True),
        ("GET", "/openapi.json", True),
        ("GET", "/console", True),
        ("GET", "/docs/style.css", True),
        ("GET", "/docsx", False),
        ("POST", "/grpc.health.v1.Health/Watch", True),
        ("POST", "/grpc.health.v1.Health/Check", False),
        ("POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", True),
    ],
)
def test_transfers_have_connections_of_their_own(method: str, path: str, *, is_transfer: bool) -> None:
    """Transfers and what strangers may keep open go to a cluster of their own: others do not wait for them."""
    routes = manager(EdgeSettings())["route_config"]["virtual_hosts"][0]["routes"]
    found = next(route for route in routes if _matches(route["match"], method, path))
    assert found["route"]["cluster"] == ("berth-transfers" if is_transfer else "berth")


def _matches(match: dict[str, Any], method: str, path: str) -> bool:
    pattern = match["safe_regex"]["regex"] if "safe_regex" in match else f"{match['prefix']}.*"
    wanted = [header for header in match.get("headers", ()) if header["name"] == ":method"]
    other = [header for header in match.get("headers", ()) if header["name"] != ":method"]
    return (
        re.fullmatch(pattern, path) is not None
        and not other
        and all(header["string_match"]["exact"] == method for header in wanted)
    )


def test_replicas_are_checked_and_only_unseen_requests_repeated() -> None:
    """Each replica is an endpoint with health checks; a request goes to another one only if none has seen it."""
    document = bootstrap(EdgeSettings(services=(("10.0.0.1", 50051), ("berth.svc", 50051))))
    for cluster in document["static_resources"]["clusters"]:
        addresses = [each["endpoint"]["address"] for each in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]]
        assert [address["socket_address"]["address"] for address in addresses] == ["10.0.0.1", "berth.svc"]
        assert (cluster["type"], len(cluster["health_checks"])) == ("STRICT_DNS", 1)
    routes = manager(EdgeSettings(services=(("10.0.0.1", 50051),)))["route_config"]["virtual_hosts"][0]["routes"]
    policies = [route["route"]["retry_policy"]["retry_on"] for route in routes if "route" in route]
    assert set(policies) == {"connect-failure,refused-stream,reset-before-request"}
    assert "retry_policy" not in str(bootstrap(EdgeSettings()))
