from berth.v1 import additional_field_pb2 as _additional_field_pb2
from berth.v1 import exec_pb2 as _exec_pb2
from berth.v1 import extra_fields_pb2 as _extra_fields_pb2
from berth.v1 import options_pb2 as _options_pb2
from berth.v1 import provider_pb2 as _provider_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import client_pb2 as _client_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateContainerExecRequest(_message.Message):
    __slots__ = ("container_id", "provider", "command", "argv", "code", "cwd", "env", "stdin", "timeout_ms", "max_output_length", "background", "additional_fields")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    BACKGROUND_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    provider: _provider_pb2.Provider
    command: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    code: ExecCode
    cwd: str
    env: _containers.ScalarMap[str, str]
    stdin: str
    timeout_ms: int
    max_output_length: int
    background: bool
    additional_fields: _containers.RepeatedCompositeFieldContainer[_additional_field_pb2.AdditionalField]
    def __init__(self, container_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., command: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., code: _Optional[_Union[ExecCode, _Mapping]] = ..., cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., stdin: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., max_output_length: _Optional[int] = ..., background: _Optional[bool] = ..., additional_fields: _Optional[_Iterable[_Union[_additional_field_pb2.AdditionalField, _Mapping]]] = ...) -> None: ...

class StreamContainerExecRequest(_message.Message):
    __slots__ = ("container_id", "provider", "command", "argv", "code", "cwd", "env", "stdin", "timeout_ms", "max_output_length", "additional_fields")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    STDIN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_OUTPUT_LENGTH_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    provider: _provider_pb2.Provider
    command: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    code: ExecCode
    cwd: str
    env: _containers.ScalarMap[str, str]
    stdin: str
    timeout_ms: int
    max_output_length: int
    additional_fields: _containers.RepeatedCompositeFieldContainer[_additional_field_pb2.AdditionalField]
    def __init__(self, container_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., command: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., code: _Optional[_Union[ExecCode, _Mapping]] = ..., cwd: _Optional[str] = ..., env: _Optional[_Mapping[str, str]] = ..., stdin: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., max_output_length: _Optional[int] = ..., additional_fields: _Optional[_Iterable[_Union[_additional_field_pb2.AdditionalField, _Mapping]]] = ...) -> None: ...

class ExecCode(_message.Message):
    __slots__ = ("language", "source", "session")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    language: str
    source: str
    session: str
    def __init__(self, language: _Optional[str] = ..., source: _Optional[str] = ..., session: _Optional[str] = ...) -> None: ...

class ListContainerExecsRequest(_message.Message):
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

class ListContainerExecsResponse(_message.Message):
    __slots__ = ("object", "data", "first_id", "last_id", "has_more", "extra_fields")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_ID_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    object: str
    data: _containers.RepeatedCompositeFieldContainer[_exec_pb2.Exec]
    first_id: str
    last_id: str
    has_more: bool
    extra_fields: _extra_fields_pb2.ExtraFields
    def __init__(self, object: _Optional[str] = ..., data: _Optional[_Iterable[_Union[_exec_pb2.Exec, _Mapping]]] = ..., first_id: _Optional[str] = ..., last_id: _Optional[str] = ..., has_more: _Optional[bool] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ...) -> None: ...

class RetrieveContainerExecRequest(_message.Message):
    __slots__ = ("container_id", "exec_id", "provider")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    exec_id: str
    provider: _provider_pb2.Provider
    def __init__(self, container_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class FollowContainerExecRequest(_message.Message):
    __slots__ = ("container_id", "exec_id", "provider", "after")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    exec_id: str
    provider: _provider_pb2.Provider
    after: int
    def __init__(self, container_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., after: _Optional[int] = ...) -> None: ...

class CancelContainerExecRequest(_message.Message):
    __slots__ = ("container_id", "exec_id", "provider")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    EXEC_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    exec_id: str
    provider: _provider_pb2.Provider
    def __init__(self, container_id: _Optional[str] = ..., exec_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...
