"""Have Envoy describe requests as spans, and continue the traces of its callers.

Each request has one span. Its attributes have no query, in which names can be, and no header but the user agent and the
request id.
"""

from typing import Any
from urllib.parse import SplitResult, urlsplit

from berth.rest.envoy.cluster import is_ip
from berth.rest.envoy.edge import Tracing
from berth.rest.envoy.filters import typed

Json = dict[str, Any]

CLUSTER = "telemetry"
FLUSH_MILLISECONDS = 1000
"""How long spans are gathered."""
MAX_KEPT = 2048
"""How many spans wait for the collector; more are dropped."""
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_FILTERS = "envoy.extensions.filters.http"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SAMPLERS = "envoy.tracers.opentelemetry.samplers"
_SAMPLER_TYPES = "envoy.extensions.tracers.opentelemetry.samplers.v3"
_TIMEOUT = "10s"
_MILLION = 1_000_000
_METHOD = "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD):32%"
_HTTP_PATH = "/v1/traces"
_PORTS = {"http": 80, "https": 443}
_PATH = "%PATH(NQ:ORIG_OR_PATH):256%"


def tracing(settings: Tracing) -> Json:
    """Return the tracing of a connection manager.

    The sampler decides alone: Envoy's own choice is made by the request id, which callers may choose.
    """
    config = typed(
        "envoy.config.trace.v3.OpenTelemetryConfig",
        service_name=settings.service_name,
        sampler=_sampler(settings.sampling_ratio),
        max_cache_size=MAX_KEPT,
        **_exporter(settings),
    )
    return {
        "provider": {"name": "envoy.tracers.opentelemetry", "typed_config": config},
        "operation": _METHOD,
        "custom_tags": [
            {"tag": "http.request.method", "value": _METHOD},
            {"tag": "http.method", "value": _METHOD},  # Envoy's own is that of the gRPC call
            {"tag": "http.response.status_code", "value": "%RESPONSE_CODE%"},
            {"tag": "url.path", "value": _PATH},
            {"tag": "http.url", "value": _PATH},  # Envoy's own has the query
        ],
    }


def tracing_runtime() -> Json:
    """Return the values of Envoy's runtime that say how often spans are sent."""
    return {"tracing.opentelemetry.flush_interval_ms": FLUSH_MILLISECONDS}


def collector_cluster(settings: Tracing) -> Json:
    """Return the cluster of the collector."""
    url = urlsplit(settings.url)
    address = {"socket_address": {"address": url.hostname, "port_value": _port(url)}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    cluster: Json = {
        "name": CLUSTER,
        "type": "STATIC" if is_ip(url.hostname or "") else "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {_OPTIONS: _http_options(settings)},
        "load_assignment": {"cluster_name": CLUSTER, "endpoints": endpoints},
    }
    if url.scheme == "https":
        cluster["transport_socket"] = _tls(settings, url.hostname or "")
    return cluster


def _http_options(settings: Tracing) -> Json:
    """Return the protocol, and the filters that add headers: elsewhere no variable can be used in them for gRPC."""
    version = "http2_protocol_options" if settings.protocol == "grpc" else "http_protocol_options"
    overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"
    added = [
        {"append": {"header": {"key": name, "value": value}, "append_action": overwrite}}
        for name, value in settings.headers.items()
    ]
    mutation = typed(f"{_FILTERS}.header_mutation.v3.HeaderMutation", mutations={"request_mutations": added})
    codec = typed(f"{_FILTERS}.upstream_codec.v3.UpstreamCodec")
    filters = [
        {"name": "envoy.filters.http.header_mutation", "typed_config": mutation},
        {"name": "envoy.filters.http.upstream_codec", "typed_config": codec},
    ]
    return typed(_OPTIONS, explicit_http_config={version: {}}, **({"http_filters": filters} if added else {}))


def _sampler(ratio: float) -> Json:
    share = {"numerator": round(ratio * _MILLION), "denominator": "MILLION"}
    by_ratio = {
        "name": f"{_SAMPLERS}.trace_id_ratio_based",
        "typed_config": typed(f"{_SAMPLER_TYPES}.TraceIdRatioBasedSamplerConfig", sampling_percentage=share),
    }
    config = typed(f"{_SAMPLER_TYPES}.ParentBasedSamplerConfig", wrapped_sampler=by_ratio)
    return {"name": f"{_SAMPLERS}.parent_based", "typed_config": config}


def _exporter(settings: Tracing) -> Json:
    if settings.protocol == "grpc":
        return {"grpc_service": {"envoy_grpc": {"cluster_name": CLUSTER}, "timeout": _TIMEOUT}}
    url = settings.url if settings.url.endswith(_HTTP_PATH) else f"{settings.url.rstrip('/')}{_HTTP_PATH}"
    return {"http_service": {"http_uri": {"uri": url, "cluster": CLUSTER, "timeout": _TIMEOUT}}}


def _tls(settings: Tracing, host: str) -> Json:
    name = {"san_type": "IP_ADDRESS" if is_ip(host) else "DNS", "matcher": {"exact": host}}
    authorities = {"filename": settings.ca_path}
    validation = {"trusted_ca": authorities, "match_typed_subject_alt_names": [name]}
    named = {} if is_ip(host) else {"sni": host}
    context = typed(_TLS, common_tls_context={"validation_context": validation}, **named)
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _port(url: SplitResult) -> int:
    return url.port or _PORTS[url.scheme]
