from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ErrorReply(_message.Message):
    __slots__ = ("error", "is_bifrost_error", "status_code", "extra_fields")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    IS_BIFROST_ERROR_FIELD_NUMBER: _ClassVar[int]
    STATUS_CODE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    error: ErrorDetail
    is_bifrost_error: bool
    status_code: int
    extra_fields: ErrorExtraFields
    def __init__(self, error: _Optional[_Union[ErrorDetail, _Mapping]] = ..., is_bifrost_error: _Optional[bool] = ..., status_code: _Optional[int] = ..., extra_fields: _Optional[_Union[ErrorExtraFields, _Mapping]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("message", "type", "param", "code")
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    PARAM_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    message: str
    type: str
    param: _struct_pb2.Value
    code: _struct_pb2.Value
    def __init__(self, message: _Optional[str] = ..., type: _Optional[str] = ..., param: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., code: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class ErrorExtraFields(_message.Message):
    __slots__ = ("provider", "request_type")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_TYPE_FIELD_NUMBER: _ClassVar[int]
    provider: str
    request_type: str
    def __init__(self, provider: _Optional[str] = ..., request_type: _Optional[str] = ...) -> None: ...
