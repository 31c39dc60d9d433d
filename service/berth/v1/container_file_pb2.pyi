from berth.v1 import extra_fields_pb2 as _extra_fields_pb2
from berth.v1 import options_pb2 as _options_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ContainerFile(_message.Message):
    __slots__ = ("id", "object", "container_id", "path", "bytes", "created_at", "source", "extra_fields")
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    object: str
    container_id: str
    path: str
    bytes: int
    created_at: int
    source: str
    extra_fields: _extra_fields_pb2.ExtraFields
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., container_id: _Optional[str] = ..., path: _Optional[str] = ..., bytes: _Optional[int] = ..., created_at: _Optional[int] = ..., source: _Optional[str] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ...) -> None: ...
