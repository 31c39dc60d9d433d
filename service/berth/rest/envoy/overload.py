"""What Envoy does when it has many connections, or much in its memory."""

from typing import Any

from berth.rest.envoy.edge import EdgeSettings
from berth.rest.envoy.filters import typed

Json = dict[str, Any]

_CONNECTIONS, _HEAP = (
    f"envoy.resource_monitors.{name}" for name in ("global_downstream_max_connections", "fixed_heap")
)
MAX_RESETS = 100
"""As many as the requests that a client may have at a time on a connection: it may give up all of them."""
RAPID_RESETS: Json = {
    "http.max_requests_per_io_cycle": 1,
    "overload.premature_reset_total_stream_count": 2 * MAX_RESETS + 1,
}
"""Values of Envoy's runtime against requests that are sent and reset at once, which no limit of streams bounds.

Envoy begins one request of a connection before it is the turn of another connection; by default it begins all that it
has read. It closes a connection if more than MAX_RESETS of its requests, and half of them, were reset within a second
each; by default it lets 250 pass.
"""
_COUNTED = 14
"""From two to the power of this on, the bytes that a stream holds are counted.

A stream that holds less has given its answer to the codec, and STREAM_FLUSH ends it. One that holds more may wait for
its client for as long as any that is idle. Not all that a stream holds is counted. Envoy counts in eight classes, each
twice as large as the one before.
"""


def overload_manager(settings: EdgeSettings) -> Json:
    """Return what Envoy watches, and what it does against too much of it.

    A client that does not read lets Envoy hold answers: up to 24 MiB each, which the service has sent and forgotten.
    """
    monitors = "envoy.extensions.resource_monitors"
    heap = typed(f"{monitors}.fixed_heap.v3.FixedHeapConfig", max_heap_size_bytes=settings.max_heap_bytes)
    connections = typed(
        f"{monitors}.downstream_connections.v3.DownstreamConnectionsConfig",
        max_active_downstream_connections=settings.max_connections,
    )
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {"name": _HEAP, "typed_config": heap},
            {"name": _CONNECTIONS, "typed_config": connections},
        ],
        "buffer_factory_config": {"minimum_account_to_track_power_of_two": _COUNTED},
        "actions": [
            _reduce_timeouts(),
            # Those that hold the most are first. An answer over HTTP/1 is not held by a stream, but by its connection.
            _action("reset_high_memory_stream", _scaled(_HEAP, 0.7)),
            _action("shrink_heap", _at(_HEAP, 0.95)),
            _action("stop_accepting_requests", _at(_HEAP, 0.98)),
        ],
    }


def _reduce_timeouts() -> Json:
    """Close idle connections earlier, the more there are or the more memory is used, so that clients find room.

    Those that have not finished their TLS handshake are closed before others. A connection is idle, too, while its
    client does not read the answer; one that reads it slowly still gets it.
    """
    scale = typed(
        "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
        timer_scale_factors=[
            {"timer": "HTTP_DOWNSTREAM_CONNECTION_IDLE", "min_timeout": "5s"},
            {"timer": "HTTP_DOWNSTREAM_STREAM_FLUSH", "min_timeout": "5s"},
            {"timer": "TRANSPORT_SOCKET_CONNECT", "min_timeout": "1s"},
        ],
    )
    return {**_action("reduce_timeouts", _scaled(_CONNECTIONS, 0.5), _scaled(_HEAP, 0.5)), "typed_config": scale}


def _action(name: str, *triggers: Json) -> Json:
    return {"name": f"envoy.overload_actions.{name}", "triggers": list(triggers)}


def _at(monitor: str, value: float) -> Json:
    return {"name": monitor, "threshold": {"value": value}}


def _scaled(monitor: str, begin: float) -> Json:
    """Return a trigger of what is done the more, the more of something is used, from a share of it on."""
    return {"name": monitor, "scaled": {"scaling_threshold": begin, "saturation_threshold": 0.9}}
