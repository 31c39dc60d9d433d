"""JSON schemas of the contract's messages, as REST callers see them."""

from typing import Any

from google.api.field_behavior_pb2 import FieldBehavior, field_behavior
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from berth.core.enum_names import short_names
from berth.rest.bodies import QUERY
from berth.rest.openapi.comments import Comments
from berth.v1 import options_pb2

Json = dict[str, Any]

NOT_IN_JSON = frozenset({"additional_fields", "body"})
"""The fields of requests that REST callers do not send under their names."""
_MAXIMUM: Any = options_pb2.maximum  # their stubs do not declare them as extensions
_LIMITS: Any = options_pb2.limits
_ANY_VALUE = "google.protobuf.Value"
_TEXTS_OR_NULL = frozenset({"berth.v1.ErrorDetail.param", "berth.v1.ErrorDetail.code"})
_ALWAYS = _TEXTS_OR_NULL | {"berth.v1.ErrorReply.error", "berth.v1.ErrorReply.extra_fields"}
"""Fields that could be absent over gRPC and are in every JSON error."""
_NUMBERS: dict[int, Json] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.CPPTYPE_INT64: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.CPPTYPE_UINT64: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
_BOUNDS = {"minimum": "minimum", "maximum": "maximum", "min_length": "minLength", "max_length": "maxLength"}
"""The keywords of limits. A text has at most as many characters as bytes."""


class Schemas:
    """Describes messages, and keeps what it described by name in `components`."""

    def __init__(self, comments: Comments) -> None:
        self._comments = comments
        self.components: dict[str, Json] = {}

    def request(self, message: Descriptor, *, without: frozenset[str] = frozenset()) -> Json:
        """Return a reference to the schema of a message in a request, without the fields in the path."""
        return self._reference(message, is_request=True, without=without | NOT_IN_JSON)

    def response(self, message: Descriptor) -> Json:
        """Return a reference to the schema of a message in a response."""
        return self._reference(message, is_request=False)

    def field(self, field: FieldDescriptor, *, is_request: bool) -> Json:
        """Return the schema of a field, with its description."""
        schema = self._shape(field, is_request=is_request)
        described = self._comments.of(field.full_name)
        return {"description": described, **schema} if described else schema

    def _reference(self, message: Descriptor, *, is_request: bool, without: frozenset[str] = frozenset()) -> Json:
        if message.name not in self.components:
            self.components[message.name] = {}  # keeps the order of first use
            self.components[message.name] = self._object(message, is_request=is_request, without=without)
        return {"$ref": f"#/components/schemas/{message.name}"}

    def _object(self, message: Descriptor, *, is_request: bool, without: frozenset[str]) -> Json:
        fields = [field for field in message.fields if field.name not in without]
        needed = [field.name for field in fields if _is_required(field, is_request=is_request)]
        if is_request:
            needed = [name for name in needed if name not in QUERY]  # it may be in the query
        return {
            "type": "object",
            "description": self._comments.of(message.full_name),
            "properties": {field.name: self.field(field, is_request=is_request) for field in fields},
            **({"required": needed} if needed else {}),
        }

    def _shape(self, field: FieldDescriptor, *, is_request: bool) -> Json:
        limits = field.GetOptions().Extensions[_LIMITS]
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            return _map(self._one(field.message_type.fields_by_name["value"], is_request=is_request), limits)
        one = self._one(field, is_request=is_request)
        if not field.is_repeated:
            return one | _bounds(limits)
        items = one | _bounds(limits.items)
        return {"type": "array", "items": items, **({"maxItems": limits.max_items} if limits.max_items else {})}

    def _one(self, field: FieldDescriptor, *, is_request: bool) -> Json:
        """Return the schema of one value of a field."""
        if field.enum_type is not None:
            return self._enum(field.enum_type, field)
        if field.full_name in _TEXTS_OR_NULL:
            return {"type": ["string", "null"]}
        if field.message_type is not None:
            if field.message_type.full_name == _ANY_VALUE:
                return {}
            return self._reference(field.message_type, is_request=is_request, without=NOT_IN_JSON)
        most = field.GetOptions().Extensions[_MAXIMUM]
        return {**_NUMBERS[field.cpp_type], **({"maximum": most} if most else {})}

    def _enum(self, enum: EnumDescriptor, field: FieldDescriptor) -> Json:
        """Return the names of an enum: a reference, unless only some of them are allowed in `field`."""
        if field.GetOptions().Extensions[_LIMITS].values:
            return {"type": "string"}
        self.components.setdefault(enum.name, self._names(enum))
        return {"$ref": f"#/components/schemas/{enum.name}"}

    def _names(self, enum: EnumDescriptor) -> Json:
        scope = enum.full_name.rpartition(".")[0]
        names = {name: enum.values_by_number[number].name for name, number in short_names(enum).items()}
        meanings = [f"- `{name}`: {self._comments.of(f'{scope}.{value}')}" for name, value in names.items()]
        description = "\n".join([self._comments.of(enum.full_name), "", *meanings])
        return {"type": "string", "description": description, "enum": list(names)}


def _map(value: Json, limits: Any) -> Json:
    return {
        "type": "object",
        "additionalProperties": {**value, **_bounds(limits.items)},
        **({"propertyNames": _bounds(limits.keys)} if limits.HasField("keys") else {}),
        **({"maxProperties": limits.max_items} if limits.max_items else {}),
    }


def _is_required(field: FieldDescriptor, *, is_request: bool) -> bool:
    """Return whether an object always has a field: Envoy prints what cannot be absent."""
    needed = FieldBehavior.Value("REQUIRED") in field.GetOptions().Extensions[field_behavior]
    return needed or (not is_request and (not field.has_presence or field.full_name in _ALWAYS))


def _bounds(limits: Any) -> Json:
    names = {field.name: value for field, value in limits.ListFields()}
    bounds = {keyword: names[name] for name, keyword in _BOUNDS.items() if name in names}
    if "max_bytes" in names and "max_length" not in names:
        bounds["maxLength"] = names["max_bytes"]
    if names.get("values"):
        bounds["enum"] = list(names["values"])
    return bounds
