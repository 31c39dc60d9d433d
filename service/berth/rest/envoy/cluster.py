"""What clusters have in common: limits between Envoy and the service, at the edge and in a sidecar, and addresses."""

from ipaddress import ip_address
from typing import Any

from berth.rest.envoy.edge import CONNECTIONS_A_REQUEST, MEBIBYTE, UPLOAD_BUFFER_BYTES, EdgeSettings
from berth.rest.envoy.filters import typed

Json = dict[str, Any]

_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HEALTH_CHECKS = {"priority": "HIGH", "max_requests": 128, "max_pending_requests": 128, "max_connections": 16}
"""The limits of health checks: the service answers as many at a time. Over HTTP/1.1 they wait for a connection."""


def cluster_limits(settings: EdgeSettings, max_requests: int) -> Json:
    """Return the fields of a cluster that keep memory flat and protect the service from too many requests.

    Requests of high priority, which are health checks, count by themselves.
    """
    threshold: Json = {"max_requests": max_requests, "max_pending_requests": max_requests}
    if settings.has_replicas or len(settings.grpc_sockets) > 1:
        # Every request may be waiting for another process; by default at most three are retried at a time.
        threshold["max_retries"] = max_requests
    if settings.over_http1:
        threshold["max_connections"] = CONNECTIONS_A_REQUEST * max_requests
    return {
        "per_connection_buffer_limit_bytes": UPLOAD_BUFFER_BYTES if settings.over_http1 else MEBIBYTE,
        "circuit_breakers": {"thresholds": [threshold, _HEALTH_CHECKS]},
        "typed_extension_protocol_options": {_OPTIONS: _http1() if settings.over_http1 else _http2()},
    }


def ejection() -> Json:
    """Return the fields of a cluster that leave out a worker to which no connection can be made, for a moment.

    What a worker answers does not count. If none can be reached, all are tried.
    """
    return {
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 2,
            "enforcing_consecutive_local_origin_failure": 100,
            "enforcing_local_origin_success_rate": 0,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "interval": "0.25s",
            "base_ejection_time": "0.25s",
            "max_ejection_time": "1s",
            "max_ejection_percent": 100,
        }
    }


def other_worker() -> Json:
    """Return the fields of a virtual host that have another worker answer if a request could not be sent to the first.

    A request of which a worker may have read anything is not sent again.
    """
    return {
        "retry_policy": {
            "retry_on": "connect-failure,reset-before-request",
            "num_retries": 3,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": typed("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"),
                }
            ],
            "host_selection_retry_max_attempts": 5,
            "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.05s"},
        }
    }


def _http1() -> Json:
    """Return the HTTP/1.1 options. The status of a call is in trailers.

    Envoy closes unused connections; the service never does, because Envoy may be sending a request.
    """
    return typed(
        _OPTIONS,
        explicit_http_config={"http_protocol_options": {"enable_trailers": True}},
        common_http_protocol_options={"idle_timeout": "30s"},
    )


def _http2() -> Json:
    """Return the HTTP/2 options, with windows that keep a slow download from filling Envoy's memory."""
    options = {
        "initial_stream_window_size": MEBIBYTE,
        "initial_connection_window_size": 8 * MEBIBYTE,
        # All callers share a connection to the service, and its grpc keeps a header that it could not read, such as
        # grpc-timeout, in the table of the connection: later calls that refer to its name would fail as well.
        "hpack_table_size": 0,
        # An invalid response ends only its own request, and not all others on the connection. The service also uses
        # this to abort a download: a status would be dropped, and the client would take the part for the whole file.
        # Trailing metadata of `connection: close`, which HTTP/2 forbids, makes Envoy abort the client's download, too.
        "override_stream_error_on_invalid_http_message": True,
    }
    return typed(_OPTIONS, explicit_http_config={"http2_protocol_options": options})


def is_ip(host: str) -> bool:
    """Return whether a host is an address, which needs no look-up."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
