from berth.v1 import additional_field_pb2 as _additional_field_pb2
from berth.v1 import container_file_pb2 as _container_file_pb2
from berth.v1 import extra_fields_pb2 as _extra_fields_pb2
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

class CreateContainerFileRequest(_message.Message):
    __slots__ = ("container_id", "provider", "file_path", "filename", "file_id", "content_type", "body", "additional_fields")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    FILE_PATH_FIELD_NUMBER: _ClassVar[int]
    FILENAME_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    provider: _provider_pb2.Provider
    file_path: str
    filename: str
    file_id: str
    content_type: str
    body: _httpbody_pb2.HttpBody
    additional_fields: _containers.RepeatedCompositeFieldContainer[_additional_field_pb2.AdditionalField]
    def __init__(self, container_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., file_path: _Optional[str] = ..., filename: _Optional[str] = ..., file_id: _Optional[str] = ..., content_type: _Optional[str] = ..., body: _Optional[_Union[_httpbody_pb2.HttpBody, _Mapping]] = ..., additional_fields: _Optional[_Iterable[_Union[_additional_field_pb2.AdditionalField, _Mapping]]] = ...) -> None: ...

class ListContainerFilesRequest(_message.Message):
    __slots__ = ("container_id", "provider", "limit", "after", "order")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    provider: _provider_pb2.Provider
    limit: int
    after: str
    order: str
    def __init__(self, container_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ..., order: _Optional[str] = ...) -> None: ...

class ListContainerFilesResponse(_message.Message):
    __slots__ = ("object", "data", "first_id", "last_id", "has_more", "extra_fields")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_ID_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    object: str
    data: _containers.RepeatedCompositeFieldContainer[_container_file_pb2.ContainerFile]
    first_id: str
    last_id: str
    has_more: bool
    extra_fields: _extra_fields_pb2.ExtraFields
    def __init__(self, object: _Optional[str] = ..., data: _Optional[_Iterable[_Union[_container_file_pb2.ContainerFile, _Mapping]]] = ..., first_id: _Optional[str] = ..., last_id: _Optional[str] = ..., has_more: _Optional[bool] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ...) -> None: ...

class RetrieveContainerFileRequest(_message.Message):
    __slots__ = ("container_id", "file_id", "provider")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    file_id: str
    provider: _provider_pb2.Provider
    def __init__(self, container_id: _Optional[str] = ..., file_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class RetrieveContainerFileContentRequest(_message.Message):
    __slots__ = ("container_id", "file_id", "provider", "offset", "length")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    file_id: str
    provider: _provider_pb2.Provider
    offset: int
    length: int
    def __init__(self, container_id: _Optional[str] = ..., file_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., offset: _Optional[int] = ..., length: _Optional[int] = ...) -> None: ...

class DeleteContainerFileRequest(_message.Message):
    __slots__ = ("container_id", "file_id", "provider")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    file_id: str
    provider: _provider_pb2.Provider
    def __init__(self, container_id: _Optional[str] = ..., file_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class DeleteContainerFileResponse(_message.Message):
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
