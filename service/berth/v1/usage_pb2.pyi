from berth.v1 import options_pb2 as _options_pb2
from berth.v1 import provider_pb2 as _provider_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Usage(_message.Message):
    __slots__ = ("id", "object", "day", "key", "provider", "containers", "container_minutes", "stored_byte_hours", "bytes_in", "bytes_out", "calls", "estimated_cost_usd", "execs", "exec_seconds")
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DAY_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_MINUTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTE_HOURS_FIELD_NUMBER: _ClassVar[int]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_COST_USD_FIELD_NUMBER: _ClassVar[int]
    EXECS_FIELD_NUMBER: _ClassVar[int]
    EXEC_SECONDS_FIELD_NUMBER: _ClassVar[int]
    id: str
    object: str
    day: str
    key: str
    provider: _provider_pb2.Provider
    containers: int
    container_minutes: _containers.RepeatedCompositeFieldContainer[ContainerMinutes]
    stored_byte_hours: float
    bytes_in: float
    bytes_out: float
    calls: int
    estimated_cost_usd: float
    execs: int
    exec_seconds: float
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., day: _Optional[str] = ..., key: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., containers: _Optional[int] = ..., container_minutes: _Optional[_Iterable[_Union[ContainerMinutes, _Mapping]]] = ..., stored_byte_hours: _Optional[float] = ..., bytes_in: _Optional[float] = ..., bytes_out: _Optional[float] = ..., calls: _Optional[int] = ..., estimated_cost_usd: _Optional[float] = ..., execs: _Optional[int] = ..., exec_seconds: _Optional[float] = ...) -> None: ...

class ContainerMinutes(_message.Message):
    __slots__ = ("memory_limit", "containers", "minutes", "billed_minutes")
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CONTAINERS_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    BILLED_MINUTES_FIELD_NUMBER: _ClassVar[int]
    memory_limit: str
    containers: int
    minutes: int
    billed_minutes: int
    def __init__(self, memory_limit: _Optional[str] = ..., containers: _Optional[int] = ..., minutes: _Optional[int] = ..., billed_minutes: _Optional[int] = ...) -> None: ...
