from berth.v1 import extra_fields_pb2 as _extra_fields_pb2
from berth.v1 import options_pb2 as _options_pb2
from berth.v1 import provider_pb2 as _provider_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ContainerStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONTAINER_STATUS_UNSPECIFIED: _ClassVar[ContainerStatus]
    CONTAINER_STATUS_RUNNING: _ClassVar[ContainerStatus]
    CONTAINER_STATUS_EXPIRED: _ClassVar[ContainerStatus]
    CONTAINER_STATUS_ACTIVE: _ClassVar[ContainerStatus]
    CONTAINER_STATUS_DELETED: _ClassVar[ContainerStatus]

class NetworkPolicyType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NETWORK_POLICY_TYPE_UNSPECIFIED: _ClassVar[NetworkPolicyType]
    NETWORK_POLICY_TYPE_DISABLED: _ClassVar[NetworkPolicyType]
    NETWORK_POLICY_TYPE_ALLOWLIST: _ClassVar[NetworkPolicyType]
CONTAINER_STATUS_UNSPECIFIED: ContainerStatus
CONTAINER_STATUS_RUNNING: ContainerStatus
CONTAINER_STATUS_EXPIRED: ContainerStatus
CONTAINER_STATUS_ACTIVE: ContainerStatus
CONTAINER_STATUS_DELETED: ContainerStatus
NETWORK_POLICY_TYPE_UNSPECIFIED: NetworkPolicyType
NETWORK_POLICY_TYPE_DISABLED: NetworkPolicyType
NETWORK_POLICY_TYPE_ALLOWLIST: NetworkPolicyType

class Container(_message.Message):
    __slots__ = ("id", "object", "name", "created_at", "status", "expires_after", "last_active_at", "memory_limit", "metadata", "network_policy", "extra_fields", "provider", "bytes")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    LAST_ACTIVE_AT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    object: str
    name: str
    created_at: int
    status: ContainerStatus
    expires_after: ExpiresAfter
    last_active_at: int
    memory_limit: str
    metadata: _containers.ScalarMap[str, str]
    network_policy: NetworkPolicy
    extra_fields: _extra_fields_pb2.ExtraFields
    provider: _provider_pb2.Provider
    bytes: float
    def __init__(self, id: _Optional[str] = ..., object: _Optional[str] = ..., name: _Optional[str] = ..., created_at: _Optional[int] = ..., status: _Optional[_Union[ContainerStatus, str]] = ..., expires_after: _Optional[_Union[ExpiresAfter, _Mapping]] = ..., last_active_at: _Optional[int] = ..., memory_limit: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., network_policy: _Optional[_Union[NetworkPolicy, _Mapping]] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., bytes: _Optional[float] = ...) -> None: ...

class ExpiresAfter(_message.Message):
    __slots__ = ("anchor", "minutes")
    ANCHOR_FIELD_NUMBER: _ClassVar[int]
    MINUTES_FIELD_NUMBER: _ClassVar[int]
    anchor: str
    minutes: int
    def __init__(self, anchor: _Optional[str] = ..., minutes: _Optional[int] = ...) -> None: ...

class NetworkPolicy(_message.Message):
    __slots__ = ("type", "allowed_domains")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    type: NetworkPolicyType
    allowed_domains: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, type: _Optional[_Union[NetworkPolicyType, str]] = ..., allowed_domains: _Optional[_Iterable[str]] = ...) -> None: ...
