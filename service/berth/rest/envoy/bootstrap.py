"""Turn settings into the whole configuration of an Envoy that stands before the service.

The result is a plain dict; `to_yaml` writes it for people. The filters themselves are
in `rest.filters`, the form of Envoy's own refusals in `rest.local_replies`, a
sidecar's configuration in `rest.istio`. Where nothing else is said, a choice
follows Envoy's advice for proxies at the edge.
"""

import ipaddress
from typing import Any

import yaml

from berth.rest.envoy.cluster import cluster_limits
from berth.rest.envoy.edge import MAX_REQUEST_HEADERS_KIB, MEBIBYTE, UPLOAD_BUFFER_BYTES, EdgeSettings
from berth.rest.envoy.filters import client_address, http_filters, own_headers, typed
from berth.rest.envoy.istio import envoy_filter
from berth.rest.envoy.listener_tls import tls_socket
from berth.rest.envoy.local_replies import GRPC_CONTENT_TYPES, local_reply_config
from berth.rest.view import load_contract, methods_by_path, rest_view

__all__ = ["EdgeSettings", "bootstrap", "envoy_filter", "to_yaml"]

Json = dict[str, Any]

_CLUSTER = "berth"
_LOOPBACK = "127.0.0.1"
MAX_LOGGED = 256
"""How many characters of what a caller sent stand in the access log."""
# What is enough to start, watch and drain an Envoy; the rest of its admin interface, as that which stops it, is shut.
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
        "static_resources": {"listeners": [_listener(settings)], "clusters": [_cluster(settings)]},
        "overload_manager": _overload_manager(settings),
    }


def _node(settings: EdgeSettings) -> Json:
    """Return who Envoy is, which it must know where it reads secrets from a file."""
    reads_secrets = settings.tls is not None and settings.tls.secrets_folder is not None
    return {"node": {"id": _CLUSTER, "cluster": _CLUSTER}} if reads_secrets else {}


class _Dumper(yaml.SafeDumper):
    """Writes a text of several lines as a block, so that a script can be read where it stands."""


_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
# What stands in two places is written twice: an alias is harder to follow.
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign] # PyYAML's own way to say so


def to_yaml(document: Json) -> str:
    """Return `document` as YAML, in the order in which it was put together."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def _address(host: str, port: int) -> Json:
    return {"socket_address": {"address": host, "port_value": port}}


def _admin(settings: EdgeSettings) -> Json:
    return {
        "address": _address(_LOOPBACK, settings.admin_port),
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
    return {
        "name": "rest",
        "address": _address(settings.rest_host, settings.rest_port),
        # With it, a second Envoy on the same port would start without a word and take half of the connections.
        "enable_reuse_port": False,
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
        # An id that the caller gives is kept, so that it can be followed through; every answer tells it.
        request_id_extension={"typed_config": _untouched_ids()},
        preserve_external_request_id=True,
        always_set_request_id_in_response=True,
        access_log=_access_log(settings),
        early_header_mutation_extensions=own_headers(),
        local_reply_config=local_reply_config(methods_by_path(view)),
        http_filters=[*http_filters(settings, view), {"name": "envoy.filters.http.router", "typed_config": router}],
        route_config=_routes(settings),
    )


def _untouched_ids() -> Json:
    """Keep Envoy from writing its decision about tracing into the request's id, which would change a caller's own."""
    return typed("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig", pack_trace_reason=False)


def _hardening(settings: EdgeSettings) -> Json:
    """Return how requests are cleaned before anything looks at them."""
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.trusted_hops,
        # Old clients and health checks of balancers still speak it.
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "berth"},
        "server_header_transformation": "PASS_THROUGH",
        # A path is judged as it was sent: an id of `..`, encoded or not, is a wrong id, and no step up to another one.
        "normalize_path": False,
        "merge_slashes": False,
        # Likewise an id with a %2F in it. Forwarding it as a slash would make another path of it, redirecting would
        # send the client there, and refusing would not be our 404.
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        # Dropped and not refused: the service knows no header with an underscore, and gRPC callers may well send some.
        "common_http_protocol_options": {"idle_timeout": "600s", "headers_with_underscores_action": "DROP_HEADER"},
        "max_request_headers_kb": MAX_REQUEST_HEADERS_KIB,
        # One window for all streams of a connection: however many there are, a caller cannot make Envoy keep more.
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": MEBIBYTE,
            "initial_connection_window_size": MEBIBYTE,
        },
    }


def _client_certificates(settings: EdgeSettings) -> Json:
    """Return how the service is told of a caller's certificate: by Envoy alone, whatever a caller says of itself."""
    if settings.tls is None or settings.tls.client_ca_path is None:
        return {"forward_client_cert_details": "SANITIZE"}
    return {
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"uri": True, "dns": True},
    }


def _timeouts() -> Json:
    """Return what bounds waiting without cutting a long upload: headers must come soon, and bytes now and then."""
    return {"request_headers_timeout": "10s", "stream_idle_timeout": "300s", "request_timeout": "0s"}


def _access_log(settings: EdgeSettings) -> list[Json]:
    """Return a log of one JSON line per request, without its query and without any header that could be a key."""
    if settings.access_log_path is None:
        return []
    line = {
        "time": "%START_TIME%",
        "event": "request.proxied",
        "method": f"%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD):{MAX_LOGGED}%",
        "path": f"%PATH(NQ:ORIG_OR_PATH):{MAX_LOGGED}%",
        "protocol": "%PROTOCOL%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "bytes_received": "%BYTES_RECEIVED%",
        "bytes_sent": "%BYTES_SENT%",
        "duration_ms": "%DURATION%",
        "request_id": f"%RESP(X-REQUEST-ID):{MAX_LOGGED}%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    log_format = {"json_format": line}
    if settings.access_log_path == "/dev/stderr":
        # Not by its path: a second opening of a socket fails, and of a file overwrites what the service logs there.
        config = typed("envoy.extensions.access_loggers.stream.v3.StderrAccessLog", log_format=log_format)
        return [{"name": "envoy.access_loggers.stderr", "typed_config": config}]
    name = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    config = typed(name, path=settings.access_log_path, log_format=log_format)
    return [{"name": "envoy.access_loggers.file", "typed_config": config}]


def _routes(settings: EdgeSettings) -> Json:
    # No limit on the whole of a request: the service has its own, and a large file takes its time.
    route = {"match": {"prefix": "/"}, "route": {"cluster": _CLUSTER, "timeout": "0s"}}
    host: Json = {
        "name": "berth",
        "domains": ["*"],
        "routes": [_grpc_without_post(), route],
        "request_headers_to_add": [client_address()],
    }
    if settings.cors_origins:
        host["typed_per_filter_config"] = {"envoy.filters.http.cors": _cors(settings.cors_origins)}
    return {"name": "rest", "virtual_hosts": [host]}


def _grpc_without_post() -> Json:
    """Refuse a gRPC call by another method than POST: the service would reset it, which reads as a passing fault."""
    headers = [
        {"name": "content-type", "string_match": {"safe_regex": {"regex": GRPC_CONTENT_TYPES}}},
        {"name": ":method", "string_match": {"exact": "POST"}, "invert_match": True},
    ]
    body = {"inline_string": "A gRPC call is a POST."}
    return {"match": {"prefix": "/", "headers": headers}, "direct_response": {"status": 405, "body": body}}


def _cors(origins: tuple[str, ...]) -> Json:
    """Allow browsers of `origins` everything that a client may do. Keys travel in headers: no cookies are involved."""
    return typed(
        "envoy.extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in origins],
        allow_methods="GET, HEAD, POST, DELETE",
        # The star does not cover authorization: browsers want it named.
        allow_headers="authorization, *",
        expose_headers=", ".join(_EXPOSED_HEADERS),
        max_age="86400",
    )


def _cluster(settings: EdgeSettings) -> Json:
    socket = settings.grpc_socket
    address = {"pipe": {"path": socket}} if socket else _address(settings.grpc_host, settings.grpc_port)
    endpoint = {"endpoint": {"address": address}}
    return {
        "name": _CLUSTER,
        "type": "STATIC" if socket or _is_ip(settings.grpc_host) else "STRICT_DNS",
        "connect_timeout": "1s",
        **cluster_limits(settings),
        "load_assignment": {"cluster_name": _CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _overload_manager(settings: EdgeSettings) -> Json:
    monitors = "envoy.extensions.resource_monitors"
    heap = typed(f"{monitors}.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=settings.max_heap_bytes)
    connections = typed(
        f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=settings.max_connections,
    )
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": "envoy.resource_monitors.fixed_heap", "typed_config": heap},
            {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": connections},
        ],
        "actions": [
            _heap_action("envoy.overload_actions.shrink_heap", 0.95),
            _heap_action("envoy.overload_actions.stop_accepting_requests", 0.98),
        ],
    }


def _heap_action(name: str, threshold: float) -> Json:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": threshold}}
    return {"name": name, "triggers": [trigger]}
