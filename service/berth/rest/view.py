"""Derive the REST view: the descriptor with which Envoy reads and writes our JSON.

Envoy's transcoder needs a descriptor that is wire-compatible with the contract, not the contract
itself. So the contract keeps `int64`, prefixed enum values and the standard google.rpc.Status, and
the view describes the same bytes in the way that JSON needs. This costs nothing at run time.

`rest.envoy` makes Envoy use the view.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from itertools import chain
from typing import Any

from google.api import httpbody_pb2
from google.api.annotations_pb2 import http
from google.api.http_pb2 import HttpRule
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from google.rpc import status_pb2

from berth.rest.bodies import BODY, has_json_body, json_bodies
from berth.rest.pages import page_service
from berth.v1 import options_pb2

ALIASES = ("/openai/v1/", "/openai/")
_CANONICAL = "/v1/"
_ERROR_REPLY = "berth.v1.ErrorReply"
_UINT32_MAX = 4_294_967_295
_HTTP_BODY = httpbody_pb2.DESCRIPTOR.name
_UNUSED_NUMBER = 20_000
"""A field number that the contract does not use."""
_ENUM_TEXT_OFFSET = 10_000
"""Added to the number of an enum field that is a string in the view."""
_MAXIMUM: Any = options_pb2.maximum  # its stub does not declare it as an extension
_LIMITS: Any = options_pb2.limits

# sint64 and the fixed types are encoded differently from uint32, and cannot be read as one.
_VARINTS = {FieldDescriptorProto.TYPE_INT64, FieldDescriptorProto.TYPE_UINT64}
_OTHER_64_BIT = {
    FieldDescriptorProto.TYPE_SINT64,
    FieldDescriptorProto.TYPE_FIXED64,
    FieldDescriptorProto.TYPE_SFIXED64,
}


class ViewError(Exception):
    """The contract has something that the REST view cannot express."""


def load_contract() -> FileDescriptorSet:
    """Return the contract with its imports and comments, as shipped with the package."""
    return FileDescriptorSet.FromString(resources.files("berth.v1").joinpath("contract.binpb").read_bytes())


def rest_view(contract: FileDescriptorSet) -> FileDescriptorSet:
    """Return the view of `contract`. ViewError names what the view cannot express."""
    view = FileDescriptorSet()
    view.CopyFrom(contract)
    view.file.extend([json_bodies(contract), page_service()])
    ours = [file for file in view.file if f"{file.package}.".startswith("berth.")]
    for file in view.file:
        file.ClearField("source_code_info")
    _stream_unused_bodies(ours)
    _stream_raw_bodies(ours)
    for file in ours:
        _drop_limits(file)
        _unbind_json_bodies(file)
        _narrow_integers(file)
        _add_aliases(file)
    _hide_bodies(view)
    _limit_queries(ours)
    _reject_repeated_values(ours)
    _shorten_enum_values(ours)
    _replace_status(view)
    return FileDescriptorSet(file=_dependencies_first(view.file))


def _drop_limits(file: FileDescriptorProto) -> None:
    """Remove the limits of fields, which Envoy does not need."""
    for _, message in _messages(file):
        for field in message.field:
            field.options.ClearExtension(_LIMITS)


def _unbind_json_bodies(file: FileDescriptorProto) -> None:
    """Remove the REST path of each method with a JSON body, which is bound in `rest.bodies` instead."""
    for service in file.service:
        for method in service.method:
            if has_json_body(method):
                method.options.ClearExtension(http)


def _stream_unused_bodies(files: Sequence[FileDescriptorProto]) -> None:
    """Bind the body of a request that has none, such as a GET, to a field that the contract does not have.

    Otherwise Envoy reads the body as JSON: it collects the body before the caller is authenticated,
    and its fields override those of the path. As a stream of bytes, the body goes to the service.
    The service takes the first message, which is the only one if there is no body, and never sees
    the field.
    """
    bodiless = set()
    for method in chain.from_iterable(service.method for file in files for service in file.service):
        if method.options.HasExtension(http) and not method.options.Extensions[http].body:
            method.client_streaming = True
            method.options.Extensions[http].body = BODY
            bodiless.add(method.input_type.removeprefix("."))
    for file in files:
        for scope, message in _messages(file):
            if scope in bodiless:
                message.field.add(
                    name=BODY,
                    number=_UNUSED_NUMBER,
                    type=FieldDescriptorProto.TYPE_MESSAGE,
                    type_name=f".{httpbody_pb2.HttpBody.DESCRIPTOR.full_name}",
                    label=FieldDescriptorProto.LABEL_OPTIONAL,
                )
                if _HTTP_BODY not in file.dependency:
                    file.dependency.append(_HTTP_BODY)


def _stream_raw_bodies(files: Iterable[FileDescriptorProto]) -> None:
    """Let Envoy pass the bytes of a body on as they come, and not collect them before the caller is authenticated."""
    for method in chain.from_iterable(service.method for file in files for service in file.service):
        if method.options.HasExtension(http) and method.options.Extensions[http].body == BODY:
            method.client_streaming = True


def _hide_bodies(view: FileDescriptorSet) -> None:
    """Remove all fields from HttpBody, so that no query can set them. Envoy writes its bytes without them."""
    for file in view.file:
        for scope, message in _messages(file):
            if scope == httpbody_pb2.HttpBody.DESCRIPTOR.full_name:
                message.ClearField("field")
                file.ClearField("dependency")


def _limit_queries(files: Iterable[FileDescriptorProto]) -> None:
    """Remove from requests what no query can carry, and let the service read the names of enum values.

    Envoy would also accept the number of an enum value. So such a field is a string in the view,
    with a number that the contract does not use: Envoy only checks that it is given once, and the
    service reads its value from the query itself.
    """
    for message in _requests(files):
        kept = [field for field in message.field if not _is_list_of_messages(field)]
        del message.field[:]
        message.field.extend(kept)
        for field in message.field:
            if field.type == FieldDescriptorProto.TYPE_ENUM:
                field.type = FieldDescriptorProto.TYPE_STRING
                field.ClearField("type_name")
                field.number += _ENUM_TEXT_OFFSET


def _is_list_of_messages(field: FieldDescriptorProto) -> bool:
    return field.label == FieldDescriptorProto.LABEL_REPEATED and field.type == FieldDescriptorProto.TYPE_MESSAGE


def _requests(files: Iterable[FileDescriptorProto]) -> Iterator[DescriptorProto]:
    """Yield the request of each method that REST callers can reach."""
    files = list(files)
    methods = chain.from_iterable(service.method for file in files for service in file.service)
    requests = {method.input_type.removeprefix(".") for method in methods if method.options.HasExtension(http)}
    for scope, message in chain.from_iterable(map(_messages, files)):
        if scope in requests:
            yield message


def _narrow_integers(file: FileDescriptorProto) -> None:
    """Turn 64-bit integers into uint32, so that JSON carries them as numbers.

    Both have the same varint up to 4 294 967 295, which limits sizes to 4 GiB and times to the year
    2106. A negative number would be misread, but the contract has none.
    """
    for scope, message in _messages(file):
        for field in message.field:
            name = f"{scope}.{field.name}"
            if field.type in _OTHER_64_BIT:
                raise ViewError(f"{name}: only int64 and uint64 can be read as uint32")
            if field.type in _VARINTS:
                _check_maximum(field, name)
                field.type = FieldDescriptorProto.TYPE_UINT32


def _check_maximum(field: FieldDescriptorProto, name: str) -> None:
    if not field.options.HasExtension(_MAXIMUM):
        raise ViewError(f"{name}: a 64-bit field needs the option (berth.v1.maximum)")
    if (maximum := field.options.Extensions[_MAXIMUM]) > _UINT32_MAX:
        raise ViewError(f"{name}: its maximum {maximum} is above {_UINT32_MAX}")


def _reject_repeated_values(files: Iterable[FileDescriptorProto]) -> None:
    """Make the fields of requests optional, which changes nothing on the wire.

    Of two values of a plain field, in the path, the query or the body, Envoy takes the last:
    `?container_id=` would reach another container than the path says. It rejects a second value of
    an optional field.
    """
    for message in _requests(files):
        for field in message.field:
            _make_optional(field, message)


def _make_optional(field: FieldDescriptorProto, message: DescriptorProto) -> None:
    plain = field.label != FieldDescriptorProto.LABEL_REPEATED and field.type != FieldDescriptorProto.TYPE_MESSAGE
    if plain and not field.HasField("oneof_index"):
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{field.name}")


def _shorten_enum_values(files: Iterable[FileDescriptorProto]) -> None:
    """Rename PROVIDER_OPENAI to openai, and so on.

    The name of an enum value belongs to the scope around the enum, so two enums of one package must
    not share a name. Zero values, which JSON never shows, therefore keep their prefix.
    """
    taken: dict[str, str] = {}
    for scope, enum in chain.from_iterable(map(_enums, files)):
        for value in enum.value:
            before, value.name = f"{scope}.{value.name}", _short_name(enum, value.name, scope=scope)
            after = f"{scope}.{value.name}"
            if after in taken:
                raise ViewError(f"{before} and {taken[after]} would both be {after}")
            taken[after] = before


def _short_name(enum: EnumDescriptorProto, name: str, *, scope: str) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", enum.name)
    prefix = f"{words.upper()}_"
    short = name.removeprefix(prefix).lower()
    if not name.startswith(prefix) or not short.isidentifier():
        raise ViewError(f"{scope}.{name}: a value of {enum.name} must begin with {prefix}, followed by a name")
    return name.lower() if short == "unspecified" else short


def _replace_status(view: FileDescriptorSet) -> None:
    """Give google.rpc.Status the fields of the error reply, and no others.

    Envoy prints the status of a failed call by this message. The service writes the standard status
    and then the error reply into the same bytes: the fields of the first are unknown here and are
    dropped, the second becomes the body of the response.
    """
    reply_file, reply = _find(view, _ERROR_REPLY)
    name = status_pb2.DESCRIPTOR.name
    status = next((file for file in view.file if file.name == name), None) or view.file.add()
    status.Clear()
    status_pb2.DESCRIPTOR.CopyToProto(status)
    status.message_type[0].CopyFrom(reply)
    status.message_type[0].name = status_pb2.Status.DESCRIPTOR.name
    status.dependency[:] = [reply_file.name, *reply_file.dependency]


def _find(view: FileDescriptorSet, name: str) -> tuple[FileDescriptorProto, DescriptorProto]:
    for file in view.file:
        for scope, message in _messages(file):
            if scope == name:
                return file, message
    raise ViewError(f"{name} is missing: it is the body of every REST error")


def _add_aliases(file: FileDescriptorProto) -> None:
    """Bind the aliases of every path below /v1/, too."""
    for service in file.service:
        for method in service.method:
            if method.options.HasExtension(http):
                rule = method.options.Extensions[http]
                rule.additional_bindings.extend(list(_aliases(rule)))


def _aliases(rule: HttpRule) -> Iterator[HttpRule]:
    verb = rule.WhichOneof("pattern")
    path = getattr(rule, verb) if verb not in (None, "custom") else ""
    if path.startswith(_CANONICAL):
        for prefix in ALIASES:
            alias = HttpRule(body=rule.body, response_body=rule.response_body)
            setattr(alias, verb, prefix + path.removeprefix(_CANONICAL))
            yield alias


def methods_by_path(view: FileDescriptorSet) -> dict[str, set[str]]:
    """Return the HTTP methods of each path template of a view. A path with GET also has HEAD."""
    methods: dict[str, set[str]] = {}
    for file in view.file:
        for method in chain.from_iterable(service.method for service in file.service):
            rule = method.options.Extensions[http]
            for binding in (rule, *rule.additional_bindings) if method.options.HasExtension(http) else ():
                verb = binding.WhichOneof("pattern") or ""
                allowed = {"GET", "HEAD"} if verb == "get" else {verb.upper()}
                methods.setdefault(getattr(binding, verb), set()).update(allowed)
    return methods


def _dependencies_first(files: Iterable[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Order the files as Envoy needs them: each after those that it imports."""
    waiting = {file.name: file for file in files}
    ordered: list[FileDescriptorProto] = []

    def place(name: str) -> None:
        if file := waiting.pop(name, None):
            for dependency in file.dependency:
                place(dependency)
            ordered.append(file)

    for name in list(waiting):
        place(name)
    return ordered


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto]]:
    """Yield every message, including nested ones, with its full name."""
    waiting = [(f"{file.package}.{message.name}", message) for message in reversed(file.message_type)]
    while waiting:
        scope, message = waiting.pop()
        yield scope, message
        waiting += [(f"{scope}.{nested.name}", nested) for nested in reversed(message.nested_type)]


def _enums(file: FileDescriptorProto) -> Iterator[tuple[str, EnumDescriptorProto]]:
    """Yield every enum with the scope that holds its values."""
    for enum in file.enum_type:
        yield file.package, enum
    for scope, message in _messages(file):
        for enum in message.enum_type:
            yield scope, enum
