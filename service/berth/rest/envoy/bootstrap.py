"""Build the whole configuration of an Envoy in front of the service.

The result is a plain dict; `to_yaml` writes it for people. `filters` has the HTTP filters,
`local_replies` the format of Envoy's own errors, and `istio` the configuration of a sidecar. Unless
a comment says otherwise, values follow Envoy's recommendations for edge proxies.
"""

import socket
from typing import Any

import yaml

from berth.rest.envoy.access_log import access_log
from berth.rest.envoy.cluster import cluster_limits, ejection, is_ip, other_worker
from berth.rest.envoy.edge import MAX_REQUEST_HEADERS_KIB, MEBIBYTE, UPLOAD_BUFFER_BYTES, EdgeSettings
from berth.rest.envoy.filters import client_address, http_filters, own_headers, typed
from berth.rest.envoy.istio import envoy_filter
from berth.rest.envoy.listener_tls import tls_socket
from berth.rest.envoy.local_replies import GRPC_CONTENT_TYPES, local_reply_config
from berth.rest.envoy.overload import RAPID_RESETS, overload_manager
from berth.rest.envoy.replicas import retry_elsewhere, spread
from berth.rest.envoy.tracing import collector_cluster, tracing, tracing_runtime
from berth.rest.view import load_contract, methods_by_path, rest_view

__all__ = ["EdgeSettings", "bootstrap", "envoy_filter", "to_yaml"]

Json = dict[str, Any]

_CLUSTER, _TRANSFERS = "berth", "berth-transfers"
_LOOPBACK = "127.0.0.1"
_EVERY_ADDRESS = "::"
_OWNER_ONLY = 0o600
_REUSE_PORT = {"level": socket.SOL_SOCKET, "name": socket.SO_REUSEPORT, "int_value": 1, "state": "STATE_PREBIND"}
# Enough to start, watch and drain Envoy. The rest of the admin interface is closed, such as the path that stops it.
_ACCEPTED_AT_ONCE = 8
"""How many connections are accepted before it is the turn of open ones.

By default all that wait are accepted, and a flood of TLS handshakes comes before what other connections sent. One at a
time costs callers a fifth of their rate if they make a connection for each call.
"""
_ADMIN_PATHS = ("/ready", "/listeners", "/stats", "/drain_listeners")
_EXPOSED_HEADERS = (
    "x-request-id",
    "x-bifrost-provider",
    "x-bifrost-request-type",
    "x-bifrost-upstream-latency-ms",
    "retry-after",
    "x-should-retry",
    "idempotent-replayed",
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-budget-remaining-usd",
    "content-disposition",
    "etag",
    "content-range",
    "accept-ranges",
    "allow",
    "x-content-length",
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
)


def bootstrap(settings: EdgeSettings) -> Json:
    """Return a whole bootstrap: one listener for REST, gRPC and gRPC-Web, one cluster, limits for all."""
    return {
        **_node(settings),
        "admin": _admin(settings),
        "static_resources": {
            "listeners": [_listener(settings)],
            "clusters": [_cluster(settings, name) for name in (_CLUSTER, _TRANSFERS)] + _collector(settings),
        },
        "layered_runtime": _runtime(settings),
        "overload_manager": overload_manager(settings),
    }


def _node(settings: EdgeSettings) -> Json:
    """Return Envoy's identity, which Envoy requires in order to read secrets from a file."""
    reads_secrets = settings.tls is not None and settings.tls.secrets_folder is not None
    return {"node": {"id": _CLUSTER, "cluster": _CLUSTER}} if reads_secrets else {}


def _runtime(settings: EdgeSettings) -> Json:
    values = {**RAPID_RESETS, **(tracing_runtime() if settings.tracing else {})}
    return {"layers": [{"name": "static", "static_layer": values}]}


def _collector(settings: EdgeSettings) -> list[Json]:
    return [collector_cluster(settings.tracing)] if settings.tracing else []


class _Dumper(yaml.SafeDumper):
    """Writes strings of several lines as blocks, so that scripts stay readable."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
# Values that occur twice are written twice: aliases are harder to read.
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign] # how PyYAML switches aliases off


def to_yaml(document: Json) -> str:
    """Return `document` as YAML, with keys in the order of the dict."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _listen_address(settings: EdgeSettings) -> Json:
    address = _address(settings.rest_host, settings.rest_port)
    if settings.rest_host == _EVERY_ADDRESS and not settings.ipv6_only:
        address["socket_address"]["ipv4_compat"] = True
    return address


def _pipe(path: str) -> Json:
    return {"pipe": {"path": path, "mode": _OWNER_ONLY}}


def _admin(settings: EdgeSettings) -> Json:
    path = settings.admin_socket
    return {
        "address": _pipe(path) if path else _address(_LOOPBACK, settings.admin_port),
        "allow_paths": [{"prefix": path} for path in _ADMIN_PATHS],
    }


def _listener(settings: EdgeSettings) -> Json:
    chain: Json = {
        "filters": [
            {"name": "envoy.filters.network.http_connection_manager", "typed_config": _connection_manager(settings)}
        ]
    }
    if settings.tls:
        chain["transport_socket"] = tls_socket(settings.tls)
        chain["transport_socket_connect_timeout"] = "10s"
    return {
        "name": "rest",
        "address": _listen_address(settings),
        # Otherwise a second Envoy on the same port would start without an error and take half of the connections.
        # `berth up` checks for that itself; it shares one socket among Envoy's threads, and not one socket for each.
        "enable_reuse_port": False,
        **({"socket_options": [_REUSE_PORT]} if settings.shares_port else {}),
        "max_connections_to_accept_per_socket_event": _ACCEPTED_AT_ONCE,
        "per_connection_buffer_limit_bytes": UPLOAD_BUFFER_BYTES,
        "filter_chains": [chain],
    }


def _connection_manager(settings: EdgeSettings) -> Json:
    view = rest_view(load_contract())
    router = typed("envoy.extensions.filters.http.router.v3.Router", suppress_envoy_headers=True)
    return typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="rest",
        codec_type="AUTO",
        **_hardening(settings),
        **_timeouts(),
        **_client_certificates(settings),
        # A request id that the caller sends is kept, so that the request can be traced; every response carries it.
        request_id_extension={"typed_config": _request_id_config(settings)},
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        access_log=access_log(settings),
        **({"tracing": tracing(settings.tracing)} if settings.tracing else {}),
        early_header_mutation_extensions=own_headers(),
        local_reply_config=local_reply_config(methods_by_path(view)),
        http_filters=[*http_filters(settings, view), {"name": "envoy.filters.http.router", "typed_config": router}],
        route_config=_routes(settings),
    )


def _request_id_config(settings: EdgeSettings) -> Json:
    """Keep Envoy from writing its tracing decision into the request id, which would change a caller's id.

    Nor is anything decided by the id: callers may choose it, and Envoy would trace no request with an id of another
    form than its own.
    """
    name = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
    decides = {"use_request_id_for_trace_sampling": False} if settings.tracing else {}
    return typed(name, pack_trace_reason=False, **decides)


def _hardening(settings: EdgeSettings) -> Json:
    """Return how requests are sanitised before anything else reads them."""
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_hops,
        # Old clients and health checks of balancers still use HTTP/1.0.
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "berth"},
        "server_header_transformation": "PASS_THROUGH",
        # A path is used as it was sent: an id of `..`, encoded or not, is a wrong id and does not lead to another path.
        "normalize_path": False,
        "merge_slashes": False,
        # The same holds for an id with a %2F in it. As a slash it would make another path, a redirect would send the
        # client there, and Envoy's own rejection would not be our 404.
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        # Dropped and not rejected: the service reads no header with an underscore, but gRPC callers may send some.
        "common_http_protocol_options": {
            "idle_timeout": "600s",
            "headers_with_underscores_action": "DROP_HEADER",
            **_connection_age(settings),
        },
        "http1_safe_max_connection_duration": True,
        "max_request_headers_kb": MAX_REQUEST_HEADERS_KIB,
        # One window for all streams of a connection: a caller cannot make Envoy buffer more by opening more streams.
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": MEBIBYTE,
            "initial_connection_window_size": MEBIBYTE,
        },
    }


def _connection_age(settings: EdgeSettings) -> Json:
    """Return how long a connection with a client certificate lasts; running requests end on it nevertheless.

    The service of `berth up` checks certificates on every call. If Envoy is deployed on its own, the
    service does not know the authorities, so Envoy has to verify a certificate from time to time.
    """
    is_own = bool(settings.grpc_sockets)
    checks = settings.tls is not None and settings.tls.client_ca_path is not None and not is_own
    return {"max_connection_duration": "600s"} if checks else {}


def _client_certificates(settings: EdgeSettings) -> Json:
    """Return how Envoy forwards a caller's certificate. What a caller itself says about it is discarded."""
    if settings.tls is None or settings.tls.client_ca_path is None:
        return {"forward_client_cert_details": "SANITIZE"}
    return {
        "forward_client_cert_details": "SANITIZE_SET",
        # The certificates themselves: Envoy writes names unescaped, and one could look like several.
        "set_current_client_cert_details": {"chain": True},
    }


def _timeouts() -> Json:
    """Return timeouts that do not cut a long upload: headers must come soon, and bytes now and then."""
    return {
        "request_headers_timeout": "10s",
        "stream_idle_timeout": "300s",
        "stream_flush_timeout": "300s",  # as by default; but Envoy reduces only what is set
        "request_timeout": "0s",
    }


def _routes(settings: EdgeSettings) -> Json:
    host: Json = {
        "name": "berth",
        "domains": ["*"],
        "routes": [
            _grpc_without_post(),
            *(_route(settings, _TRANSFERS, match) for match in _transfers()),
            _route(settings, _TRANSFERS, _commands(), idle_timeout="0s"),
            _route(settings, _CLUSTER, _health_checks(), priority="HIGH"),
            _route(settings, _CLUSTER, {"prefix": "/"}),
        ],
        "request_headers_to_add": [client_address()],
        **(other_worker() if len(settings.grpc_sockets) > 1 else {}),
    }
    if settings.cors_origins:
        host["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(settings.cors_origins)}
    return {"name": "rest", "virtual_hosts": [host]}


def _route(settings: EdgeSettings, cluster: str, match: Json, **fields: str) -> Json:
    # No timeout for a whole request: the service has its own, and a large file takes time.
    retries = {"retry_policy": retry_elsewhere()} if settings.has_replicas else {}
    return {"match": match, "route": {"cluster": cluster, "timeout": "0s", **fields, **retries}}


def _transfers() -> list[Json]:
    """Return the matches of uploads and downloads, pages included, and of streams.

    They have connections to the service of their own: on a shared one, other requests wait for the
    data of transfers that is ahead of them. Health watches, reflection and pages need no key: strangers,
    who may keep them open, cannot use up `rest.max_calls` with them.
    """
    uploads = {"safe_regex": {"regex": ".*/(files|CreateContainerFile|CreateFile)"}}
    streams = "content|stream|RetrieveContainerFileContent|RetrieveFileContent|(Stream|Follow)ContainerExec"
    downloads = {"safe_regex": {"regex": f".*/({streams})"}}
    public = {"safe_regex": {"regex": r"/(grpc\.health\.v1\.Health/Watch|grpc\.reflection\..*)"}}
    pages = {"safe_regex": {"regex": r"/(openapi\.json|(docs|console)(/.*)?)?"}}
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    return [{**uploads, "headers": [post]}, downloads, public, pages]


def _commands() -> Json:
    """Return the match of requests that wait for a command, which may be silent for longer than any other request."""
    post = {"name": ":method", "string_match": {"exact": "POST"}}
    return {"safe_regex": {"regex": ".*/(execs|mcp|CreateContainerExec|SendMcpMessage)"}, "headers": [post]}


def _health_checks() -> Json:
    """Return the match of requests for the health, which must be answered while too many others are running.

    Their priority has limits of its own: see `cluster_limits`.
    """
    return {"safe_regex": {"regex": r"/(healthz|readyz|grpc\.health\.v1\.Health/Check)"}}


def _grpc_without_post() -> Json:
    """Reject a gRPC call with another method than POST: the service's reset would look like a temporary fault."""
    headers = [
        {"name": "content-type", "string_match": {"safe_regex": {"regex": GRPC_CONTENT_TYPES}}},
        {"name": ":method", "string_match": {"exact": "POST"}, "invert_match": True},
    ]
    body = {"inline_string": "A gRPC call must be a POST."}
    return {"match": {"prefix": "/", "headers": headers}, "direct_response": {"status": 405, "body": body}}


def _cors(origins: tuple[str, ...]) -> Json:
    """Allow browsers of `origins` everything that a client may do. Keys travel in headers: no cookies are involved."""
    return typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in origins],
        allow_methods="GET, HEAD, POST, DELETE",
        # The star does not cover authorization: browsers require it by name.
        allow_headers="authorization, *",
        expose_headers=", ".join(_EXPOSED_HEADERS),
        max_age="86400",
    )


def _cluster(settings: EdgeSettings, name: str) -> Json:
    sockets = settings.grpc_sockets
    hosts = settings.services or ((settings.grpc_host, settings.grpc_port),)
    requests = min(settings.max_requests, settings.max_calls) if name == _CLUSTER else settings.max_requests
    addresses = [{"pipe": {"path": path}} for path in sockets] or [_address(*host) for host in hosts]
    endpoints = [{"endpoint": {"address": address}} for address in addresses]
    return {
        "name": name,
        "type": "STATIC" if sockets or all(is_ip(host) for host, _ in hosts) else "STRICT_DNS",
        "connect_timeout": "1s",
        **(spread() if settings.has_replicas else {}),
        **cluster_limits(settings, requests),
        **(ejection() if len(sockets) > 1 else {}),
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
    }
