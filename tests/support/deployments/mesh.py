"""A sidecar as Istio configures it, with the patches of an EnvoyFilter merged into it."""

from collections.abc import Mapping, Sequence
from typing import Any

from berth.rest.envoy.bootstrap import bootstrap
from berth.rest.envoy.edge import EdgeSettings

Json = dict[str, Any]

FORWARDS_NAMES: Json = {
    "forward_client_cert_details": "APPEND_FORWARD",
    "set_current_client_cert_details": {"subject": True, "dns": True, "uri": True},
}
"""What Istio sets in the sidecar of a service."""


def sidecar(patches: Sequence[Mapping[str, Any]], settings: EdgeSettings | None = None) -> Json:
    """Return the bootstrap of a bare proxy that forwards names of certificates, with `patches` merged into it."""
    document = bootstrap(settings or EdgeSettings())
    manager = manager_of(document["static_resources"]["listeners"][0])
    bare = {key: manager[key] for key in ("@type", "stat_prefix", "route_config")} | FORWARDS_NAMES
    bare["http_filters"] = [manager["http_filters"][-1]]
    for patch in patches:
        value = patch["patch"]["value"]
        match patch["applyTo"]:
            case "NETWORK_FILTER":
                bare = merged(bare, value["typed_config"])
            case "HTTP_FILTER":
                bare["http_filters"].insert(-1, value)
            case "CLUSTER":
                document["static_resources"]["clusters"][0] |= value
            case other:
                raise AssertionError(other)
    manager.clear()
    manager.update(bare)
    return document


def manager_of(listener: Json) -> Json:
    """Return the HTTP connection manager of a listener."""
    manager: Json = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def merged(old: Json, new: Json) -> Json:
    """Return `old` with the fields of `new`, as messages are merged: fields of a message that is in both remain."""
    both = {name: merged(old[name], new[name]) for name in old.keys() & new.keys() if isinstance(old[name], dict)}
    return old | new | both
