"""Limits between Envoy and the service, the same at the edge and in a sidecar."""

from typing import Any

from berth.rest.envoy.edge import MEBIBYTE, EdgeSettings
from berth.rest.envoy.filters import typed

Json = dict[str, Any]

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def cluster_limits(settings: EdgeSettings) -> Json:
    """Return the fields of a cluster that keep memory flat and protect the service from too many requests."""
    threshold = {"max_requests": settings.max_requests, "max_pending_requests": settings.max_requests}
    return {
        "per_connection_buffer_limit_bytes": MEBIBYTE,
        "circuit_breakers": {"thresholds": [threshold]},
        "typed_extension_protocol_options": {_OPTIONS: _protocol()},
    }


def _protocol() -> Json:
    """Return the HTTP/2 options, with windows that keep a slow download from filling Envoy's memory."""
    options = {
        "initial_stream_window_size": MEBIBYTE,
        "initial_connection_window_size": 8 * MEBIBYTE,
        # An invalid response ends only its own request, and not all others on the connection. The service also uses
        # this to abort a download: a status would be dropped, and the client would take the part for the whole file.
        # Trailing metadata of `connection: close`, which HTTP/2 forbids, makes Envoy abort the client's download, too.
        "override_stream_error_on_invalid_http_message": True,
    }
    return typed(_OPTIONS, explicit_http_config={"http2_protocol_options": options})
