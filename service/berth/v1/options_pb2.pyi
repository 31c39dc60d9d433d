from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
MAXIMUM_FIELD_NUMBER: _ClassVar[int]
maximum: _descriptor.FieldDescriptor
LIMITS_FIELD_NUMBER: _ClassVar[int]
limits: _descriptor.FieldDescriptor

class Limits(_message.Message):
    __slots__ = ("minimum", "maximum", "min_length", "max_length", "max_bytes", "max_items", "values", "items", "keys")
    MINIMUM_FIELD_NUMBER: _ClassVar[int]
    MAXIMUM_FIELD_NUMBER: _ClassVar[int]
    MIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_ITEMS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    minimum: int
    maximum: int
    min_length: int
    max_length: int
    max_bytes: int
    max_items: int
    values: _containers.RepeatedScalarFieldContainer[str]
    items: ItemLimits
    keys: ItemLimits
    def __init__(self, minimum: _Optional[int] = ..., maximum: _Optional[int] = ..., min_length: _Optional[int] = ..., max_length: _Optional[int] = ..., max_bytes: _Optional[int] = ..., max_items: _Optional[int] = ..., values: _Optional[_Iterable[str]] = ..., items: _Optional[_Union[ItemLimits, _Mapping]] = ..., keys: _Optional[_Union[ItemLimits, _Mapping]] = ...) -> None: ...

class ItemLimits(_message.Message):
    __slots__ = ("min_length", "max_length", "max_bytes", "values")
    MIN_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    min_length: int
    max_length: int
    max_bytes: int
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, min_length: _Optional[int] = ..., max_length: _Optional[int] = ..., max_bytes: _Optional[int] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...
