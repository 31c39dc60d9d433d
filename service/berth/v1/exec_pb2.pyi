from berth.v1 import container_file_pb2 as _container_file_pb2
from berth.v1 import extra_fields_pb2 as _extra_fields_pb2
from berth.v1 import options_pb2 as _options_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Exec(_message.Message):
    __slots__ = ("id", "object", "container_id", "status", "stdout", "stderr", "truncated", "outcome", "files", "skipped_files", "displays", "network_refusals", "duration_ms", "isolation", "created_at", "extra_fields", "session", "session_restarted")
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FILES_FIELD_NUMBER: _ClassVar[int]
    DISPLAYS_FIELD_NUMBER: _ClassVar[int]
    NETWORK_REFUSALS_FIELD_NUMBER: _ClassVar[int]
    DURATION_MS_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_RESTARTED_FIELD_NUMBER: _ClassVar[int]
    id: str
    object: str
    container_id: str
    status: str
    stdout: str
    stderr: str
    truncated: bool
    outcome: ExecOutcome
    files: _containers.RepeatedCompositeFieldContainer[_container_file_pb2.ContainerFile]
    skipped_files: _containers.RepeatedCompositeFieldContainer[SkippedFile]
    displays: _containers.RepeatedCompositeFieldContainer[ExecDisplay]
    network_refusals: _containers.RepeatedScalarFieldContainer[str]
    duration_ms: int
    isolation: str
    created_at: int
    extra_fields: _extra_fields_pb2.ExtraFields
    session: str
    session_restarted: bool
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., container_id: _Optional[str] = ..., status: _Optional[str] = ..., stdout: _Optional[str] = ..., stderr: _Optional[str] = ..., truncated: _Optional[bool] = ..., outcome: _Optional[_Union[ExecOutcome, _Mapping]] = ..., files: _Optional[_Iterable[_Union[_container_file_pb2.ContainerFile, _Mapping]]] = ..., skipped_files: _Optional[_Iterable[_Union[SkippedFile, _Mapping]]] = ..., displays: _Optional[_Iterable[_Union[ExecDisplay, _Mapping]]] = ..., network_refusals: _Optional[_Iterable[str]] = ..., duration_ms: _Optional[int] = ..., isolation: _Optional[str] = ..., created_at: _Optional[int] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ..., session: _Optional[str] = ..., session_restarted: _Optional[bool] = ...) -> None: ...

class ExecOutcome(_message.Message):
    __slots__ = ("type", "exit_code")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    type: str
    exit_code: int
    def __init__(self, type: _Optional[str] = ..., exit_code: _Optional[int] = ...) -> None: ...

class SkippedFile(_message.Message):
    __slots__ = ("path", "reason")
    PATH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    path: str
    reason: str
    def __init__(self, path: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ExecDisplay(_message.Message):
    __slots__ = ("mime_type", "file_id")
    MIME_TYPE_FIELD_NUMBER: _ClassVar[int]
    FILE_ID_FIELD_NUMBER: _ClassVar[int]
    mime_type: str
    file_id: str
    def __init__(self, mime_type: _Optional[str] = ..., file_id: _Optional[str] = ...) -> None: ...

class ExecEvent(_message.Message):
    __slots__ = ("sequence", "type", "stdout", "stderr", "exec")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    EXEC_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    type: str
    stdout: str
    stderr: str
    exec: Exec
    def __init__(self, sequence: _Optional[int] = ..., type: _Optional[str] = ..., stdout: _Optional[str] = ..., stderr: _Optional[str] = ..., exec: _Optional[_Union[Exec, _Mapping]] = ...) -> None: ...
