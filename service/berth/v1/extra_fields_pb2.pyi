from berth.v1 import options_pb2 as _options_pb2
from berth.v1 import provider_pb2 as _provider_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExtraFields(_message.Message):
    __slots__ = ("request_type", "provider", "model_requested", "model_deployment", "latency", "upstream_latency", "chunk_index", "raw_request", "raw_response", "idempotent_replayed", "cache_debug")
    REQUEST_TYPE_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    MODEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    MODEL_DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_LATENCY_FIELD_NUMBER: _ClassVar[int]
    CHUNK_INDEX_FIELD_NUMBER: _ClassVar[int]
    RAW_REQUEST_FIELD_NUMBER: _ClassVar[int]
    RAW_RESPONSE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_REPLAYED_FIELD_NUMBER: _ClassVar[int]
    CACHE_DEBUG_FIELD_NUMBER: _ClassVar[int]
    request_type: str
    provider: _provider_pb2.Provider
    model_requested: str
    model_deployment: str
    latency: int
    upstream_latency: int
    chunk_index: int
    raw_request: _struct_pb2.Value
    raw_response: _struct_pb2.Value
    idempotent_replayed: bool
    cache_debug: CacheDebug
    def __init__(self, request_type: _Optional[str] = ..., provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., model_requested: _Optional[str] = ..., model_deployment: _Optional[str] = ..., latency: _Optional[int] = ..., upstream_latency: _Optional[int] = ..., chunk_index: _Optional[int] = ..., raw_request: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., raw_response: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., idempotent_replayed: _Optional[bool] = ..., cache_debug: _Optional[_Union[CacheDebug, _Mapping]] = ...) -> None: ...

class CacheDebug(_message.Message):
    __slots__ = ("cache_hit", "cache_id", "hit_type", "requested_provider", "requested_model", "provider_used", "model_used", "input_tokens", "threshold", "similarity")
    CACHE_HIT_FIELD_NUMBER: _ClassVar[int]
    CACHE_ID_FIELD_NUMBER: _ClassVar[int]
    HIT_TYPE_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_MODEL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_USED_FIELD_NUMBER: _ClassVar[int]
    MODEL_USED_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SIMILARITY_FIELD_NUMBER: _ClassVar[int]
    cache_hit: bool
    cache_id: str
    hit_type: str
    requested_provider: _provider_pb2.Provider
    requested_model: str
    provider_used: _provider_pb2.Provider
    model_used: str
    input_tokens: int
    threshold: float
    similarity: float
    def __init__(self, cache_hit: _Optional[bool] = ..., cache_id: _Optional[str] = ..., hit_type: _Optional[str] = ..., requested_provider: _Optional[_Union[_provider_pb2.Provider, str]] = ..., requested_model: _Optional[str] = ..., provider_used: _Optional[_Union[_provider_pb2.Provider, str]] = ..., model_used: _Optional[str] = ..., input_tokens: _Optional[int] = ..., threshold: _Optional[float] = ..., similarity: _Optional[float] = ...) -> None: ...
