"""Put the REST view into the sidecar of a mesh, as an EnvoyFilter of Istio.

The sidecar in front of the service's gRPC port then also answers REST on that port. The mesh keeps
its addresses, certificates, CORS and routes; only what the mesh does not know is set here.
"""

from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from berth.rest.envoy.cluster import cluster_limits
from berth.rest.envoy.edge import MAX_REQUEST_HEADERS_KIB, EdgeSettings
from berth.rest.envoy.filters import http_filters, own_headers, typed
from berth.rest.envoy.local_replies import local_reply_config
from berth.rest.view import load_contract, methods_by_path, rest_view

Json = dict[str, Any]

_CONTEXT = "SIDECAR_INBOUND"
_MANAGER = "envoy.filters.network.http_connection_manager"


def envoy_filter(settings: EdgeSettings) -> Json:
    """Return the EnvoyFilter for pods labelled `app: berth`. The gRPC port is that of the settings."""
    port, view = settings.grpc_port, rest_view(load_contract())
    return {
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "EnvoyFilter",
        "metadata": {"name": "berth-rest"},
        "spec": {
            "workloadSelector": {"labels": {"app": "berth"}},
            "configPatches": [
                _manager(port, view),
                # Each is inserted right before the router, and so after the previous one: this keeps the order.
                *(_http_filter(port, config) for config in http_filters(settings, view)),
                _cluster(settings),
            ],
        },
    }


def _patch(apply_to: str, match: Json, *, operation: str, value: Json) -> Json:
    return {
        "applyTo": apply_to,
        "match": {"context": _CONTEXT, **match},
        "patch": {"operation": operation, "value": value},
    }


def _in_manager(port: int, **sub_filter: Any) -> Json:
    return {"listener": {"portNumber": port, "filterChain": {"filter": {"name": _MANAGER, **sub_filter}}}}


def _manager(port: int, view: FileDescriptorSet) -> Json:
    config = typed(
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        # By default the mesh normalises paths: an id of `..` would lead to another path.
        normalize_path=False,
        path_with_escaped_slashes_action="KEEP_UNCHANGED",
        max_request_headers_kb=MAX_REQUEST_HEADERS_KIB,
        stream_idle_timeout="300s",
        always_set_request_id_in_response=True,
        # By default the mesh forwards names and keeps what the caller sent. Berth reads the certificate itself.
        forward_client_cert_details="SANITIZE_SET",
        set_current_client_cert_details={"cert": True},
        early_header_mutation_extensions=own_headers(),
        local_reply_config=local_reply_config(methods_by_path(view)),
    )
    value = {"name": _MANAGER, "typed_config": config}
    return _patch("NETWORK_FILTER", _in_manager(port), operation="MERGE", value=value)


def _http_filter(port: int, config: Json) -> Json:
    match = _in_manager(port, subFilter={"name": "envoy.filters.http.router"})
    return _patch("HTTP_FILTER", match, operation="INSERT_BEFORE", value=config)


def _cluster(settings: EdgeSettings) -> Json:
    match = {"cluster": {"portNumber": settings.grpc_port}}
    return _patch("CLUSTER", match, operation="MERGE", value=cluster_limits(settings, settings.max_requests))
