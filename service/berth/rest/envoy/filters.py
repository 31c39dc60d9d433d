"""Build the chain of HTTP filters that turns REST into gRPC, the same at the edge and in a sidecar.

Requests pass the filters in the order of the list, responses in the reverse order. Native gRPC and
gRPC-Web share the port and skip the filters that only REST needs. The routes around the filters are
configured in `bootstrap` and, in a sidecar, by the mesh.
"""

import base64
from importlib import resources
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from berth.rest.envoy.edge import EdgeSettings
from berth.rest.envoy.local_replies import GRPC_CONTENT_TYPES, SEGMENT

Json = dict[str, Any]

_HTTP = "envoy.filters.http"
_ORIGINALS = ("x-envoy-original-path", "x-envoy-original-method")
_HEAD, _LENGTH, _CLIENT, _HOST = "x-berth-head", "x-berth-content-length", "x-berth-client", "x-berth-host"
"""Headers in which Envoy describes a request: that it is a HEAD, the length of its body, its source, and its host."""
_NOT_IN_GRPC = "[^:]*[^:a-z0-9_.-][^:]*"
"""Names of headers that HTTP allows and gRPC does not, such as `x~y`."""
_REQUEST_ID = "[ -~]{1,128}"
"""A request id that is kept: printable ASCII, which gRPC can send back, not longer than the service logs."""
_EVENTS = rf".*/execs/({SEGMENT}/)?stream(\?.*)?"
"""The paths of streams of events."""
_NOT_REFUSED = r"([^q;, ][^;,]*|q *= *(1|0?\.0*[1-9])[^;,]*)"
"""A parameter of a type in `accept` that does not refuse the type, as `q=0` does."""
_LINES = rf"(?i)(.*,)? *application/(x-ndjson|jsonl) *(; *{_NOT_REFUSED})*(,.*)?"
"""An `accept` that asks for lines of JSON; others get server-sent events."""
_GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin")


def typed(message: str, **fields: Any) -> Json:
    """Return a configuration with the name of its message, which Envoy requires for each extension."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def http_filters(settings: EdgeSettings, view: FileDescriptorSet) -> list[Json]:
    """Return the filters in order, without the router that ends every chain."""
    return [
        _filter("cors", typed(f"{_EXTENSIONS}.cors.v3.Cors")),
        _filter("grpc_web", typed(f"{_EXTENSIONS}.grpc_web.v3.GrpcWeb")),
        _unless(_header("x-request-id", _REQUEST_ID), _filter("header_mutation", _new_request_id())),
        _rest_only("header_mutation", _header_mutation()),
        _head_only("lua", _lua("head.lua")),
        _rest_only("lua", _lua("answers.lua")),
        _lines_of_json(_filter("grpc_json_transcoder", _transcoder(settings, view, stream_newline_delimited=True))),
        _filter("grpc_json_transcoder", _transcoder(settings, view, stream_sse_style_delimited=True)),
    ]


_EXTENSIONS = "envoy.extensions.filters.http"


def _filter(name: str, config: Json) -> Json:
    return {"name": f"{_HTTP}.{name}", "typed_config": config}


def _transcoder(settings: EdgeSettings, view: FileDescriptorSet, **streams: bool) -> Json:
    """Return the transcoder; `streams` says how it separates the messages of a stream that is not content."""
    return typed(
        f"{_EXTENSIONS}.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        proto_descriptor_bin=base64.b64encode(view.SerializeToString(deterministic=True)).decode(),
        services=services(view),
        # A false has_more and an empty data are printed: clients stop paginating if they are missing.
        print_options={"preserve_proto_field_names": True, "always_print_primitive_fields": True, **streams},
        convert_grpc_status=True,
        # Otherwise both would reach the service as plain HTTP and come back as a 503, which clients retry.
        request_validation_options={"reject_unknown_method": True, "reject_unknown_query_parameters": True},
        # Clients of Azure send it with every request; Berth has only one version.
        ignored_query_parameters=["api-version"],
        # A plus in a query is a space, as in forms and in what every SDK sends.
        query_param_unescape_plus=True,
        max_response_body_size=settings.max_json_answer_bytes,
        # The transcoder changes the path; the route that was chosen for the request is kept.
        match_incoming_request_route=True,
    )


def _lines_of_json(transcoder: Json) -> Json:
    """Return a transcoder for the streams of events that ask for lines of JSON; all other requests skip it.

    The next transcoder passes on what this one has made a gRPC call of.
    """
    asks = {"and_matcher": {"predicate": [_header(":path", _EVENTS), _header("accept", _LINES)]}}
    return _unless({"not_matcher": asks}, {**transcoder, "name": "berth.lines"})


def services(view: FileDescriptorSet) -> list[str]:
    """Return the full names of the services in `view`."""
    return [f"{file.package}.{service.name}" for file in view.file for service in file.service]


def _header_mutation() -> Json:
    """Keep headers of gRPC out of REST requests and responses.

    In a REST request they could only make grpc reject the call before it reaches a handler, as
    could a header in binary form that is malformed, or one with a name that gRPC does not allow.
    This filter is listed before the transcoder, so it sees responses after it: the transcoder still
    finds the status that is removed here.
    """
    unwanted = ({"prefix": "grpc-"}, {"suffix": "-bin"}, {"safe_regex": {"regex": _NOT_IN_GRPC}})
    removed = [{"remove_on_match": {"key_matcher": matcher}} for matcher in unwanted]
    removals = [{"remove": name} for name in _GRPC_HEADERS]
    # The transcoder removes the length of a body. If the request has none, no header is added.
    length = {"header": {"key": _LENGTH, "value": "%REQ(content-length)%"}}
    host = {"header": {"key": _HOST, "value": "%REQ(:authority)%"}}
    return typed(
        f"{_EXTENSIONS}.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [*removed, {"append": length}, {"append": host}],
            "response_mutations": removals,
            "response_trailers_mutations": removals,
        },
    )


def _new_request_id() -> Json:
    """Replace a request id that the service could not log or send back unchanged."""
    new_id = {"header": {"key": "x-request-id", "value": "%UNIQUE_ID%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    mutations = {"request_mutations": [{"append": new_id}]}
    return typed(f"{_EXTENSIONS}.header_mutation.v3.HeaderMutation", mutations=mutations)


def own_headers() -> list[Json]:
    """Return the extension that removes headers of Berth and of the transcoder which a caller has sent.

    It changes a request before any filter or log sees it, so only Envoy can set these headers.
    """
    mutations = [{"remove": name} for name in (*_ORIGINALS, _HEAD, _LENGTH, _CLIENT, _HOST)]
    name = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return [{"name": "own-headers", "typed_config": typed(name, mutations=mutations)}]


def client_address() -> Json:
    """Return the header that a route adds to a request: the caller's address, without trusted balancers."""
    header = {"key": _CLIENT, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _lua(name: str) -> Json:
    script = resources.files("berth.rest.envoy").joinpath(name).read_text()
    return typed(f"{_EXTENSIONS}.lua.v3.Lua", default_source_code={"inline_string": script})


def _rest_only(name: str, config: Json) -> Json:
    """Return a filter that native gRPC and gRPC-Web skip."""
    return _unless(_header("content-type", GRPC_CONTENT_TYPES), _filter(name, config))


def _head_only(name: str, config: Json) -> Json:
    """Return a filter that all requests but HEAD skip."""
    return _unless({"not_matcher": _header(":method", "HEAD")}, {**_filter(name, config), "name": "berth.head"})


def _unless(predicate: Json, extension: Json) -> Json:
    """Return a filter that requests skip if `predicate` holds for them."""
    skip = typed("envoy.extensions.filters.common.matcher.action.v3.SkipFilter")
    matcher = {"predicate": predicate, "on_match": {"action": {"name": "skip", "typed_config": skip}}}
    config = typed(
        "envoy.extensions.common.matching.v3.ExtensionWithMatcher",
        extension_config=extension,
        xds_matcher={"matcher_list": {"matchers": [matcher]}},
    )
    return {"name": extension["name"], "typed_config": config}


def _header(name: str, regex: str) -> Json:
    """Return a predicate on the whole value of a request's header."""
    match = {"safe_regex": {"google_re2": {}, "regex": regex}}
    source = typed("envoy.type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name)
    return {"single_predicate": {"input": {"name": "request-header", "typed_config": source}, "value_match": match}}
