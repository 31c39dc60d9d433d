"""The REST view: the same bytes as the contract, in the words of JSON."""

import base64
import json
import re
from typing import Any

import pytest
from google.api.annotations_pb2 import http
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    EnumValueDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import NULL_VALUE
from google.rpc import status_pb2
from hypothesis import given
from hypothesis import strategies as st

from berth.rest.view import ViewError, load_contract, methods_by_path, rest_view
from berth.v1 import error_pb2, options_pb2
from berth.v1.container_pb2 import CONTAINER_STATUS_RUNNING, Container
from berth.v1.provider_pb2 import PROVIDER_OLLAMA
from berth.web.site import site_files

_MAXIMUM: Any = options_pb2.maximum
_INT64, _STRING, _ENUM = (getattr(FieldDescriptorProto, f"TYPE_{name}") for name in ("INT64", "STRING", "ENUM"))
_UINT32_MAX = 4_294_967_295
_SCALARS = {
    FieldDescriptor.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: st.integers(0, _UINT32_MAX),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_STRING: st.text(max_size=20),
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=20),
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False),
}
MAX_VIEW_BYTES = 98_304
"""A tenth of what Kubernetes takes as one object: the view is a part of an EnvoyFilter."""


def pool(files: FileDescriptorSet) -> DescriptorPool:
    pool = DescriptorPool()
    for file in files.file:
        pool.Add(file)
    return pool


CONTRACT, VIEW = pool(load_contract()), pool(rest_view(load_contract()))
MESSAGES = sorted(
    f"{file.package}.{message.name}"
    for file in load_contract().file
    if file.package == "berth.v1"
    for message in file.message_type
)


def message_class(pool: DescriptorPool, name: str) -> type[Message]:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def integer(field: FieldDescriptor) -> st.SearchStrategy[int]:
    return st.integers(0, field.GetOptions().Extensions[_MAXIMUM])


def scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Return values of one field, as the contract types it."""
    if field.message_type is not None:
        return contents(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return _SCALARS[field.type] if field.type in _SCALARS else integer(field)


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Return values of one field: a list of pairs for a map, a list for a repeated field."""
    return st.lists(scalar(field), max_size=2) if field.is_repeated else scalar(field)


def contents(message: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return some fields of a message with their values; of google.protobuf.Value, one kind."""
    if message.full_name == "google.protobuf.Value":
        return st.sampled_from([{"null_value": 0}, {"string_value": "x"}, {"number_value": 1.5}, {"bool_value": True}])
    fields = {field.name: values(field) for field in message.fields}
    return st.fixed_dictionaries({}, optional=fields)


def fill(message: Any, content: dict[str, Any]) -> Any:
    """Put `content` into `message`, and return it."""
    for name, value in content.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        entry = field.message_type is not None and field.message_type.GetOptions().map_entry
        if entry:
            getattr(message, name).update({pair.get("key", ""): pair.get("value", "") for pair in value})
        elif field.message_type is None:
            getattr(message, name).extend(value) if field.is_repeated else setattr(message, name, value)
        elif field.is_repeated:
            for item in value:
                fill(getattr(message, name).add(), item)
        else:
            getattr(message, name).SetInParent()
            fill(getattr(message, name), value)
    return message


def plain(message: Any) -> dict[str, Any]:
    """Return what a message says, by field names, with enums as numbers."""
    return {field.name: plain_value(field, value) for field, value in message.ListFields()}


def plain_value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.message_type is not None:
        return [plain(item) for item in value] if field.is_repeated else plain(value)
    return list(value) if field.is_repeated else value


@given(st.data())
@pytest.mark.parametrize("name", MESSAGES)
def test_bytes_mean_the_same_to_both(name: str, data: st.DataObject) -> None:
    """What the contract writes, the view reads with the same values, and back."""
    ours, theirs = message_class(CONTRACT, name), message_class(VIEW, name)
    written = fill(ours(), data.draw(contents(ours.DESCRIPTOR)))
    read = theirs.FromString(written.SerializeToString())
    shared = {name: value for name, value in plain(written).items() if is_the_same(ours, theirs, name)}
    assert {name: value for name, value in plain(read).items() if name != "body"} == shared
    assert plain(ours.FromString(read.SerializeToString())) == plain(written)


def is_the_same(ours: type[Message], theirs: type[Message], name: str) -> bool:
    """Tell whether a field is in both: the view has texts for enums in queries, no lists there, and sees no body."""
    field = theirs.DESCRIPTOR.fields_by_name.get(name)
    is_there = field is not None and field.number == ours.DESCRIPTOR.fields_by_name[name].number
    return is_there and name != "body"


@pytest.mark.parametrize(
    "name", ["CreateFileRequest", "CreateContainerFileRequest", "ListContainersRequest", "RetrieveContainerRequest"]
)
def test_a_query_has_names_and_no_lists(name: str) -> None:
    """Envoy takes an enum value of a query as a text, so that no number stands for a name; a list of messages never."""
    fields = VIEW.FindMessageTypeByName(f"berth.v1.{name}").fields_by_name
    assert fields["provider"].type == FieldDescriptor.TYPE_STRING
    assert "additional_fields" not in fields


def test_no_query_sets_a_body() -> None:
    """HttpBody has no field in the view: `?body.content_type=` is an unknown parameter."""
    assert not VIEW.FindMessageTypeByName("google.api.HttpBody").fields


def test_json_bodies_have_a_service_of_their_own() -> None:
    """A create is bound to the internal service, which streams the body, and no longer to the contract's method."""
    contract = VIEW.FindServiceByName("berth.v1.ContainerService").methods_by_name["CreateContainer"]
    assert not contract.GetOptions().HasExtension(http)
    internal = VIEW.FindServiceByName("berth.rest.JsonBodies").methods_by_name["CreateContainer"]
    assert internal.client_streaming
    assert internal.output_type is contract.output_type
    assert (internal.GetOptions().Extensions[http].post, internal.GetOptions().Extensions[http].body) == (
        "/v1/containers",
        "body",
    )
    assert [field.name for field in internal.input_type.fields] == ["provider", "body"]


def test_each_path_has_its_methods() -> None:
    """Where there is GET there is HEAD."""
    methods = methods_by_path(rest_view(load_contract()))
    assert methods["/openai/v1/containers"] == {"GET", "HEAD", "POST"}
    assert methods["/v1/files/{file_id}"] == {"GET", "HEAD", "DELETE"}
    assert methods["/v1/files/{file_id}/content"] == {"GET", "HEAD"}


def test_json_has_numbers_and_short_names() -> None:
    """In the view's JSON 64-bit integers are numbers and enum values are short and in lower case."""
    container = Container(id="cntr_1", created_at=1_795_294_947, status=CONTAINER_STATUS_RUNNING)
    container.extra_fields.provider = PROVIDER_OLLAMA
    container.extra_fields.latency = _UINT32_MAX
    seen = message_class(VIEW, "berth.v1.Container").FromString(container.SerializeToString())
    document = json.loads(json_format.MessageToJson(seen, preserving_proto_field_name=True))
    assert document == {
        "id": "cntr_1",
        "created_at": 1_795_294_947,
        "status": "running",
        "extra_fields": {"provider": "ollama", "latency": 4_294_967_295},
    }


def test_status_becomes_the_error_reply() -> None:
    """A status with an error reply written behind it is, to the view, the error reply alone, nulls included."""
    reply = error_pb2.ErrorReply(status_code=404)
    reply.error.message, reply.error.type = "absent", "invalid_request_error"
    reply.error.param.null_value = reply.error.code.null_value = NULL_VALUE
    status = status_pb2.Status(code=5, message="absent")
    both = status.SerializeToString() + reply.SerializeToString()
    seen = message_class(VIEW, "google.rpc.Status").FromString(both)
    assert json_format.MessageToDict(seen, preserving_proto_field_name=True) == {
        "error": {"message": "absent", "type": "invalid_request_error", "param": None, "code": None},
        "status_code": 404,
    }


def test_status_goes_behind_its_dependencies_once() -> None:
    """A contract that already has google.rpc.Status gets it replaced, and moved behind the error reply."""
    contract = load_contract()
    status_pb2.DESCRIPTOR.CopyToProto(first := FileDescriptorProto())
    view = rest_view(FileDescriptorSet(file=[first, *contract.file]))
    names = [file.name for file in view.file]
    assert names.count("google/rpc/status.proto") == 1
    pool(view)


def test_every_path_has_its_aliases() -> None:
    """Each operation answers under /v1, /openai/v1 and /openai, with the same body."""
    for file in rest_view(load_contract()).file:
        for method in (method for service in file.service for method in service.method):
            rule = method.options.Extensions[http]
            verb = rule.WhichOneof("pattern")
            if verb is None or method.name == "GetPage":  # its JSON body comes through another method, or it is a page
                continue
            tail = getattr(rule, verb).removeprefix("/v1")
            aliases = [(getattr(alias, verb), alias.body) for alias in rule.additional_bindings]
            assert aliases == [(f"/openai/v1{tail}", rule.body), (f"/openai{tail}", rule.body)]


def test_view_is_small_and_always_the_same() -> None:
    """The view has no comments, is the same bytes each time, and leaves the contract as it was."""
    contract = load_contract()
    before = contract.SerializeToString(deterministic=True)
    first, second = rest_view(contract), rest_view(contract)
    assert first.SerializeToString(deterministic=True) == second.SerializeToString(deterministic=True)
    assert contract.SerializeToString(deterministic=True) == before
    assert not any(file.HasField("source_code_info") for file in first.file)
    assert len(base64.b64encode(first.SerializeToString())) < MAX_VIEW_BYTES


def test_other_packages_are_left_alone() -> None:
    """Only berth's own files are changed: google's keep their 64-bit integers and enum values."""
    seconds = VIEW.FindMessageTypeByName("google.protobuf.Duration").fields_by_name["seconds"]
    assert seconds.type == FieldDescriptor.TYPE_INT64
    assert "REQUIRED" in VIEW.FindEnumTypeByName("google.api.FieldBehavior").values_by_name


def test_no_body_is_read_by_envoy() -> None:
    """Each operation takes its body as bytes that stream, also one that has none: none is JSON to Envoy, or kept."""
    for file in rest_view(load_contract()).file:
        for method in (method for service in file.service for method in service.method):
            rule = method.options.Extensions[http]
            if not method.options.HasExtension(http):
                continue
            request = VIEW.FindMessageTypeByName(method.input_type.removeprefix("."))
            body = VIEW.FindMessageTypeByName("google.api.HttpBody")
            assert request.fields_by_name[rule.body].message_type is body, method.name
            assert method.client_streaming, method.name


def test_no_field_of_a_request_can_be_given_twice() -> None:
    """Each plain field of a request is optional, which is what makes Envoy refuse a second value; answers stay."""
    services = [service for file in rest_view(load_contract()).file for service in file.service]
    bound = [method for service in services for method in service.method if method.options.HasExtension(http)]
    for method in bound:
        fields = VIEW.FindMessageTypeByName(method.input_type.removeprefix(".")).fields
        plain_fields = [field for field in fields if not field.is_repeated and field.message_type is None]
        assert all(field.has_presence for field in plain_fields), method.name
    assert not VIEW.FindMessageTypeByName("berth.v1.Container").fields_by_name["name"].has_presence


def with_file(**parts: Any) -> FileDescriptorSet:
    """Return the contract and one more file of its package."""
    extra = FileDescriptorProto(name="berth/v1/extra.proto", package="berth.v1", syntax="proto3", **parts)
    return FileDescriptorSet(file=[*load_contract().file, extra])


def with_field(kind: Any, maximum: int | None) -> FileDescriptorSet:
    field = FieldDescriptorProto(name="size", number=1, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
    if maximum is not None:
        field.options.Extensions[_MAXIMUM] = maximum
    return with_file(message_type=[DescriptorProto(name="Box", field=[field])])


def enum(name: str, *values: str) -> EnumDescriptorProto:
    numbered = [EnumValueDescriptorProto(name=value, number=number) for number, value in enumerate(values)]
    return EnumDescriptorProto(name=name, value=numbered)


def test_unbounded_integer_is_refused() -> None:
    """A 64-bit field without a maximum is refused by its full name."""
    with pytest.raises(ViewError, match=r"berth\.v1\.Box\.size: .*\(berth\.v1\.maximum\)"):
        rest_view(with_field(_INT64, None))


def test_integer_above_uint32_is_refused() -> None:
    """A maximum of 4 294 967 295 is carried, one more is refused."""
    rest_view(with_field(_INT64, 4_294_967_295))
    with pytest.raises(ViewError, match=r"berth\.v1\.Box\.size: its maximum 4294967296"):
        rest_view(with_field(_INT64, 4_294_967_296))


@pytest.mark.parametrize("kind", ["SINT64", "FIXED64", "SFIXED64"])
def test_other_encodings_are_refused(kind: str) -> None:
    """A 64-bit integer that is not written as a plain varint is refused, bounded or not."""
    with pytest.raises(ViewError, match=r"berth\.v1\.Box\.size"):
        rest_view(with_field(getattr(FieldDescriptorProto, f"TYPE_{kind}"), 1))


def test_integers_in_nested_messages_are_seen() -> None:
    """The values of a map, which can carry no option, are refused like any unbounded field."""
    value = FieldDescriptorProto(name="value", number=2, type=_INT64, label=FieldDescriptorProto.LABEL_OPTIONAL)
    entry = DescriptorProto(name="SizesEntry", field=[value])
    with pytest.raises(ViewError, match=r"berth\.v1\.Box\.SizesEntry\.value"):
        rest_view(with_file(message_type=[DescriptorProto(name="Box", nested_type=[entry])]))


def test_clashing_enum_values_are_refused() -> None:
    """Two values of one scope that would come to have the same name are refused, both named."""
    clash = with_file(enum_type=[enum("Engine", "ENGINE_UNSPECIFIED", "ENGINE_RUNNING")])
    names = r"berth\.v1\.ENGINE_RUNNING and berth\.v1\.CONTAINER_STATUS_RUNNING"
    with pytest.raises(ViewError, match=names):
        rest_view(clash)


def test_enum_values_of_two_scopes_do_not_clash() -> None:
    """The same short name may stand in two messages, and beside them."""
    box = DescriptorProto(name="Box", enum_type=[enum("Engine", "ENGINE_UNSPECIFIED", "ENGINE_RUNNING")])
    pool(rest_view(with_file(message_type=[box])))


def test_zero_values_stay_distinct() -> None:
    """The unspecified values of two enums keep their prefix and so their difference."""
    values = VIEW.FindEnumTypeByName("berth.v1.Provider").values
    assert [value.name for value in values][:2] == ["provider_unspecified", "openai"]
    assert "container_status_unspecified" in VIEW.FindEnumTypeByName("berth.v1.ContainerStatus").values_by_name


@pytest.mark.parametrize("value", ["RUNNING", "ENGINE_", "ENGINE_1G"])
def test_value_that_cannot_be_shortened_is_refused(value: str) -> None:
    """A value without its enum's prefix, or with nothing or no name behind it, is refused by name."""
    with pytest.raises(ViewError, match=rf"berth\.v1\.{value}: "):
        rest_view(with_file(enum_type=[enum("Engine", "ENGINE_UNSPECIFIED", value)]))


def test_prefix_follows_the_words_of_the_enum() -> None:
    """The prefix of HTTPMode is HTTP_MODE_: a run of capitals is one word."""
    view = rest_view(with_file(enum_type=[enum("HTTPMode", "HTTP_MODE_UNSPECIFIED", "HTTP_MODE_FAST")]))
    assert [value.name for value in pool(view).FindEnumTypeByName("berth.v1.HTTPMode").values] == [
        "http_mode_unspecified",
        "fast",
    ]


def test_contract_without_error_reply_is_refused() -> None:
    """A contract that does not say what an error looks like is refused."""
    files = [file for file in load_contract().file if file.name != "berth/v1/error.proto"]
    with pytest.raises(ViewError, match=r"berth\.v1\.ErrorReply"):
        rest_view(FileDescriptorSet(file=files))


def test_pages_are_for_rest_alone() -> None:
    """The view has a service for pages, with a path for each, of which the contract knows nothing."""
    method = VIEW.FindServiceByName("berth.rest.Pages").methods_by_name["GetPage"]
    rule = method.GetOptions().Extensions[http]
    paths = [rule.get, *(binding.get for binding in rule.additional_bindings)]
    templates = [re.sub(r"\{\w+\}", "[^/]+", path.replace("{name=**}", ".+")) for path in paths]
    pages = [*site_files(), "/healthz", "/readyz"]
    assert [page for page in pages if not any(re.fullmatch(template, page) for template in templates)] == []
    assert not [file for file in load_contract().file if "page" in file.name]
