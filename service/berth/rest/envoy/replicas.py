"""How an Envoy spreads calls over the replicas of a service."""

from typing import Any

from berth.rest.envoy.filters import typed

Json = dict[str, Any]

CHECK_SECONDS = 1
"""How often Envoy asks a replica for its health."""
RETRIES = 3
"""How many other replicas get a request that one of them did not take."""
HOST_SELECTIONS = 10
"""How often the next replica is chosen for a retry, until it is one that did not have the request yet."""
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"


def spread() -> Json:
    """Return the fields of a cluster that choose the next healthy replica.

    Not the one with the fewest calls: that would be a replica that has just died. Only failures to connect count
    against one: an answer of 503 may be about a provider. If none is healthy, such as when the database is away, all
    are used, because their answers say when to try again.
    """
    return {
        "lb_policy": "ROUND_ROBIN",
        # Its address leaves DNS before a replica stops, and no new call should reach it then.
        "ignore_health_on_host_removal": True,
        # By default all are used if fewer than half are healthy.
        "common_lb_config": {"healthy_panic_threshold": {"value": 1}},
        "health_checks": [
            {
                "timeout": "2s",
                "interval": f"{CHECK_SECONDS}s",
                "no_traffic_interval": f"{CHECK_SECONDS}s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "grpc_health_check": {},  # of the overall health, which is the readiness
            }
        ],
        "outlier_detection": {
            "split_external_local_origin_errors": True,
            "consecutive_local_origin_failure": 3,
            "interval": f"{CHECK_SECONDS}s",
            "base_ejection_time": f"{CHECK_SECONDS}s",
            "max_ejection_percent": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_consecutive_gateway_failure": 0,
            "enforcing_success_rate": 0,
            "enforcing_local_origin_success_rate": 0,
        },
    }


def retry_elsewhere() -> Json:
    """Return the retry policy of a route: only for requests that certainly reached no handler."""
    predicate = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed(_PREVIOUS_HOSTS)}
    return {
        "retry_on": "connect-failure,refused-stream,reset-before-request",
        "num_retries": RETRIES,
        "retry_host_predicate": [predicate],
        "host_selection_retry_max_attempts": HOST_SELECTIONS,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
    }
