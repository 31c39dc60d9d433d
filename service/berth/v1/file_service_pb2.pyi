from berth.v1 import additional_field_pb2 as _additional_field_pb2
from berth.v1 import extra_fields_pb2 as _extra_fields_pb2
from berth.v1 import file_pb2 as _file_pb2
from berth.v1 import options_pb2 as _options_pb2
from berth.v1 import provider_pb2 as _provider_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import client_pb2 as _client_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.api import httpbody_pb2 as _httpbody_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateFileRequest(_message.Message):
    __slots__ = ("provider", "purpose", "filename", "expires_after", "content_type", "body", "additional_fields")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    provider: _provider_pb2.Provider
    purpose: str
    filename: str
    expires_after: _file_pb2.FileExpiresAfter
    content_type: str
    body: _httpbody_pb2.HttpBody
    additional_fields: _containers.RepeatedCompositeFieldContainer[_additional_field_pb2.AdditionalField]
    def __init__(self, provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., purpose: _Optional[str] = ..., filename: _Optional[str] = ..., expires_after: _Optional[_Union[_file_pb2.FileExpiresAfter, _Mapping]] = ..., content_type: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ..., additional_fields: _Optional[_Iterable[_Union[_additional_field_pb2.AdditionalField, _Mapping]]] = ...) -> None: ...

class ListFilesRequest(_message.Message):
    __slots__ = ("provider", "limit", "after", "order", "purpose")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    provider: _provider_pb2.Provider
    limit: int
    after: str
    order: str
    purpose: str
    def __init__(self, provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ..., order: _Optional[str] = ..., purpose: _Optional[str] = ...) -> None: ...

class ListFilesResponse(_message.Message):
    __slots__ = ("object", "data", "first_id", "last_id", "has_more", "extra_fields")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_ID_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    object: str
    data: _containers.RepeatedCompositeFieldContainer[_file_pb2.File]
    first_id: str
    last_id: str
    has_more: bool
    extra_fields: _extra_fields_pb2.ExtraFields
    def __init__(self, object: _Optional[str] = ..., data: _Optional[_Iterable[_Union[_file_pb2.File, _Mapping]]] = ..., first_id: _Optional[str] = ..., last_id: _Optional[str] = ..., has_more: _Optional[bool] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ...) -> None: ...

class RetrieveFileRequest(_message.Message):
    __slots__ = ("file_id", "provider")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    provider: _provider_pb2.Provider
    def __init__(self, file_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class RetrieveFileContentRequest(_message.Message):
    __slots__ = ("file_id", "provider", "offset", "length")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    provider: _provider_pb2.Provider
    offset: int
    length: int
    def __init__(self, file_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class DeleteFileRequest(_message.Message):
    __slots__ = ("file_id", "provider")
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    file_id: str
    provider: _provider_pb2.Provider
    def __init__(self, file_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class DeleteFileResponse(_message.Message):
    __slots__ = ("id", "object", "deleted", "extra_fields")
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DELETED_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    object: str
    deleted: bool
    extra_fields: _extra_fields_pb2.ExtraFields
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., deleted: _Optional[bool] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ...) -> None: ...
