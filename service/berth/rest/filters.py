"""The chain of HTTP filters that turns REST into gRPC, the same at the edge and in a sidecar.

On the way in the filters run in the order of the list, on the way out in the
reverse. Native gRPC and gRPC-Web share the port: what only REST needs steps
aside for them. The routes around the filters are left to `rest.envoy` and, in a
sidecar, to the mesh.
"""

import base64
from importlib import resources
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from berth.rest.edge import EdgeSettings
from berth.rest.local_replies import GRPC_CONTENT_TYPES

Json = dict[str, Any]

_HTTP = "envoy.filters.http"
_ORIGINALS = ("x-envoy-original-path", "x-envoy-original-method")
_HEAD, _LENGTH, _CLIENT = "x-berth-head", "x-berth-content-length", "x-berth-client"
"""What the service is told of a request: that it is a HEAD, how long its body is, and where it comes from."""
_GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin")


def typed(message: str, **fields: Any) -> Json:
    """Return a configuration with the name of its message, as Envoy wants each extension's."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def http_filters(settings: EdgeSettings, view: FileDescriptorSet) -> list[Json]:
    """Return the filters in order, all but the router that ends every chain."""
    return [
        _filter("header_mutation", _own_headers()),
        _filter("cors", typed(f"{_EXTENSIONS}.cors.v3.Cors")),
        _filter("grpc_web", typed(f"{_EXTENSIONS}.grpc_web.v3.GrpcWeb")),
        _rest_only("header_mutation", _header_mutation()),
        _rest_only("lua", _lua()),
        _filter("grpc_json_transcoder", _transcoder(settings, view)),
    ]


_EXTENSIONS = "envoy.extensions.filters.http"


def _filter(name: str, config: Json) -> Json:
    return {"name": f"{_HTTP}.{name}", "typed_config": config}


def _transcoder(settings: EdgeSettings, view: FileDescriptorSet) -> Json:
    return typed(
        f"{_EXTENSIONS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor_bin=base64.b64encode(view.SerializeToString(deterministic=True)).decode(),
        services=services(view),
        # A false has_more and an empty data are printed: clients stop paging where they are missing.
        print_options={"preserve_proto_field_names": True, "always_print_primitive_fields": True},
        convert_grpc_status=True,
        # Otherwise both would go on to the service as plain HTTP and come back as a 503, which clients repeat.
        request_validation_options={"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        # Clients of Azure send it with everything; there is one version here.
        ignored_query_parameters=["api-version"],
        # A plus in a query is a space, as forms have it and every SDK writes it.
        query_param_unescape_plus=True,
        max_response_body_size=settings.max_json_answer_bytes,
        # The path changes on the way; the route chosen for the request stays.
        match_incoming_request_route=True,
    )


def services(view: FileDescriptorSet) -> list[str]:
    """Return the full names of our services."""
    return [f"{file.package}.{service.name}" for file in view.file for service in file.service]


def _header_mutation() -> Json:
    """Keep the headers of gRPC on gRPC's side.

    What REST callers send of them could only make grpc refuse the call before
    it reaches a handler, as would a header in binary form that is none. Listed
    before the transcoder, this filter sees answers behind it: the transcoder
    still finds the status that is removed here.
    """
    binary = {"remove_on_match": {"key_matcher": {"suffix": "-bin"}}}
    removals = [{"remove": name} for name in _GRPC_HEADERS]
    unwanted = ("grpc-timeout", "grpc-encoding", "grpc-accept-encoding")
    return typed(
        f"{_EXTENSIONS}.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [
                *({"remove": name} for name in unwanted),
                binary,
                *_set(_LENGTH, "%REQ(content-length)%"),
            ],
            "response_mutations": removals,
            "response_trailers_mutations": removals,
        },
    )


def _own_headers() -> Json:
    """Let nobody but Envoy say what the service is told in headers of Berth's own and of the transcoder."""
    own = [{"remove": name} for name in (*_ORIGINALS, _HEAD)]
    return typed(
        f"{_EXTENSIONS}.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": [*own, *_set(_CLIENT, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")]},
    )


def _set(name: str, value: str) -> list[Json]:
    """Set a header of the request, whatever it was before; none is set where there is no value."""
    header = {"header": {"key": name, "value": value}, "append_action": "APPEND_IF_EXISTS_OR_ADD"}
    return [{"remove": name}, {"append": header}]


def _lua() -> Json:
    script = resources.files("berth.rest").joinpath("answers.lua").read_text()
    return typed(f"{_EXTENSIONS}.lua.v3.Lua", default_source_code={"inline_string": script})


def _rest_only(name: str, config: Json, others: list[Json] | None = None) -> Json:
    """Return a filter that native gRPC and gRPC-Web pass by, and what matches one of `others`, too."""
    skip = typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    predicates = [_header("content-type", GRPC_CONTENT_TYPES), *(others or [])]
    matchers = [
        {"predicate": one, "on_match": {"action": {"name": "skip", "typed_config": skip}}} for one in predicates
    ]
    return _filter(
        name,
        typed(
            "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
            extension_config=_filter(name, config),
            xds_matcher={"matcher_list": {"matchers": matchers}},
        ),
    )


def _header(name: str, regex: str) -> Json:
    """Return a predicate on the whole value of a request's header."""
    match = {"safe_regex": {"google_re2": {}, "regex": regex}}
    source = typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": {"name": "request-header", "typed_config": source}, "value_match": match}}
