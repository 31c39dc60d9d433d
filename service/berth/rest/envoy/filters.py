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

from berth.rest.envoy.edge import EdgeSettings
from berth.rest.envoy.local_replies import GRPC_CONTENT_TYPES

Json = dict[str, Any]

_HTTP = "envoy.filters.http"
_ORIGINALS = ("x-envoy-original-path", "x-envoy-original-method")
_HEAD, _LENGTH, _CLIENT = "x-berth-head", "x-berth-content-length", "x-berth-client"
"""What the service is told of a request: that it is a HEAD, how long its body is, and where it comes from."""
_REQUEST_ID = "[ -~]{1,128}"
"""A request id that is kept: printable ASCII, which gRPC can send back, and not longer than the service logs."""
_GRPC_HEADERS = ("grpc-status", "grpc-message", "grpc-accept-encoding", "grpc-encoding", "grpc-status-details-bin")


def typed(message: str, **fields: Any) -> Json:
    """Return a configuration with the name of its message, as Envoy wants each extension's."""
    return {"@type": f"type.googleapis.com/{message}", **fields}


def http_filters(settings: EdgeSettings, view: FileDescriptorSet) -> list[Json]:
    """Return the filters in order, all but the router that ends every chain."""
    return [
        _filter("cors", typed(f"{_EXTENSIONS}.cors.v3.Cors")),
        _filter("grpc_web", typed(f"{_EXTENSIONS}.grpc_web.v3.GrpcWeb")),
        _unless(_header("x-request-id", _REQUEST_ID), _filter("header_mutation", _new_request_id())),
        _rest_only("header_mutation", _header_mutation()),
        _head_only("lua", _lua("head.lua")),
        _rest_only("lua", _lua("answers.lua")),
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
    unwanted = ({"prefix": "grpc-"}, {"suffix": "-bin"})
    removed = [{"remove_on_match": {"key_matcher": matcher}} for matcher in unwanted]
    removals = [{"remove": name} for name in _GRPC_HEADERS]
    # The transcoder takes the length of a body away; where there is none, no header is added.
    length = {"header": {"key": _LENGTH, "value": "%REQ(content-length)%"}}
    return typed(
        f"{_EXTENSIONS}.header_mutation.v3.HeaderMutation",
        mutations={
            "request_mutations": [*removed, {"append": length}],
            "response_mutations": removals,
            "response_trailers_mutations": removals,
        },
    )


def _new_request_id() -> Json:
    """Replace a request id that the service could not log or send back as it is."""
    new_id = {"header": {"key": "x-request-id", "value": "%UNIQUE_ID%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
    mutations = {"request_mutations": [{"append": new_id}]}
    return typed(f"{_EXTENSIONS}.header_mutation.v3.HeaderMutation", mutations=mutations)


def own_headers() -> list[Json]:
    """Return the extension by which nobody but Envoy sets headers of Berth's own and of the transcoder.

    It changes a request before any filter, and before any log, sees it.
    """
    mutations = [{"remove": name} for name in (*_ORIGINALS, _HEAD, _LENGTH, _CLIENT)]
    name = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    return [{"name": "own-headers", "typed_config": typed(name, mutations=mutations)}]


def client_address() -> Json:
    """Return the header that a route adds to a request: the address of who sent it, trusted balancers left out."""
    header = {"key": _CLIENT, "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}
    return {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _lua(name: str) -> Json:
    script = resources.files("berth.rest.envoy").joinpath(name).read_text()
    return typed(f"{_EXTENSIONS}.lua.v3.Lua", default_source_code={"inline_string": script})


def _rest_only(name: str, config: Json) -> Json:
    """Return a filter that native gRPC and gRPC-Web pass by."""
    return _unless(_header("content-type", GRPC_CONTENT_TYPES), _filter(name, config))


def _head_only(name: str, config: Json) -> Json:
    """Return a filter that all but a HEAD pass by."""
    return _unless({"not_matcher": _header(":method", "HEAD")}, {**_filter(name, config), "name": "berth.head"})


def _unless(predicate: Json, extension: Json) -> Json:
    """Return a filter that requests pass by for which `predicate` holds."""
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
