from berth.v1 import additional_field_pb2 as _additional_field_pb2
from berth.v1 import container_pb2 as _container_pb2
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

class CreateContainerRequest(_message.Message):
    __slots__ = ("provider", "name", "expires_after", "file_ids", "memory_limit", "metadata", "network_policy", "skills", "additional_fields")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AFTER_FIELD_NUMBER: _ClassVar[int]
    FILE_IDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    NETWORK_POLICY_FIELD_NUMBER: _ClassVar[int]
    SKILLS_FIELD_NUMBER: _ClassVar[int]
    ADDITIONAL_FIELDS_FIELD_NUMBER: _ClassVar[int]
    provider: _provider_pb2.Provider
    name: str
    expires_after: _container_pb2.ExpiresAfter
    file_ids: _containers.RepeatedScalarFieldContainer[str]
    memory_limit: str
    metadata: _containers.ScalarMap[str, str]
    network_policy: NetworkPolicyParam
    skills: _containers.RepeatedCompositeFieldContainer[Skill]
    additional_fields: _containers.RepeatedCompositeFieldContainer[_additional_field_pb2.AdditionalField]
    def __init__(self, provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., name: _Optional[str] = ..., expires_after: _Optional[_Union[_container_pb2.ExpiresAfter, _Mapping]] = ..., file_ids: _Optional[_Iterable[str]] = ..., memory_limit: _Optional[str] = ..., metadata: _Optional[_Mapping[str, str]] = ..., network_policy: _Optional[_Union[NetworkPolicyParam, _Mapping]] = ..., skills: _Optional[_Iterable[_Union[Skill, _Mapping]]] = ..., additional_fields: _Optional[_Iterable[_Union[_additional_field_pb2.AdditionalField, _Mapping]]] = ...) -> None: ...

class NetworkPolicyParam(_message.Message):
    __slots__ = ("type", "allowed_domains", "domain_secrets")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_SECRETS_FIELD_NUMBER: _ClassVar[int]
    type: _container_pb2.NetworkPolicyType
    allowed_domains: _containers.RepeatedScalarFieldContainer[str]
    domain_secrets: _containers.RepeatedCompositeFieldContainer[DomainSecret]
    def __init__(self, type: _Optional[_Union[_container_pb2.NetworkPolicyType, str]] = ..., allowed_domains: _Optional[_Iterable[str]] = ..., domain_secrets: _Optional[_Iterable[_Union[DomainSecret, _Mapping]]] = ...) -> None: ...

class DomainSecret(_message.Message):
    __slots__ = ("domain", "name", "value")
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    domain: str
    name: str
    value: str
    def __init__(self, domain: _Optional[str] = ..., name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Skill(_message.Message):
    __slots__ = ("type", "skill_id", "version", "name", "description", "source")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SKILL_ID_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    type: str
    skill_id: str
    version: str
    name: str
    description: str
    source: SkillSource
    def __init__(self, type: _Optional[str] = ..., skill_id: _Optional[str] = ..., version: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., source: _Optional[_Union[SkillSource, _Mapping]] = ...) -> None: ...

class SkillSource(_message.Message):
    __slots__ = ("type", "media_type", "data")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    type: str
    media_type: str
    data: str
    def __init__(self, type: _Optional[str] = ..., media_type: _Optional[str] = ..., data: _Optional[str] = ...) -> None: ...

class ListContainersRequest(_message.Message):
    __slots__ = ("provider", "limit", "after", "order", "name", "status", "include")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_FIELD_NUMBER: _ClassVar[int]
    provider: _provider_pb2.Provider
    limit: int
    after: str
    order: str
    name: str
    status: _container_pb2.ContainerStatus
    include: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., limit: _Optional[int] = ..., after: _Optional[str] = ..., order: _Optional[str] = ..., name: _Optional[str] = ..., status: _Optional[_Union[_container_pb2.ContainerStatus, str]] = ..., include: _Optional[_Iterable[str]] = ...) -> None: ...

class ListContainersResponse(_message.Message):
    __slots__ = ("object", "data", "first_id", "last_id", "has_more", "extra_fields")
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    FIRST_ID_FIELD_NUMBER: _ClassVar[int]
    LAST_ID_FIELD_NUMBER: _ClassVar[int]
    HAS_MORE_FIELD_NUMBER: _ClassVar[int]
    EXTRA_FIELDS_FIELD_NUMBER: _ClassVar[int]
    object: str
    data: _containers.RepeatedCompositeFieldContainer[_container_pb2.Container]
    first_id: str
    last_id: str
    has_more: bool
    extra_fields: _extra_fields_pb2.ExtraFields
    def __init__(self, object: _Optional[str] = ..., data: _Optional[_Iterable[_Union[_container_pb2.Container, _Mapping]]] = ..., first_id: _Optional[str] = ..., last_id: _Optional[str] = ..., has_more: _Optional[bool] = ..., extra_fields: _Optional[_Union[_extra_fields_pb2.ExtraFields, _Mapping]] = ...) -> None: ...

class RetrieveContainerRequest(_message.Message):
    __slots__ = ("container_id", "provider")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    provider: _provider_pb2.Provider
    def __init__(self, container_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class DeleteContainerRequest(_message.Message):
    __slots__ = ("container_id", "provider")
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    container_id: str
    provider: _provider_pb2.Provider
    def __init__(self, container_id: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ...) -> None: ...

class DeleteContainerResponse(_message.Message):
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
