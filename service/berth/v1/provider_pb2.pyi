from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from typing import ClassVar as _ClassVar

DESCRIPTOR: _descriptor.FileDescriptor

class Provider(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROVIDER_UNSPECIFIED: _ClassVar[Provider]
    PROVIDER_OPENAI: _ClassVar[Provider]
    PROVIDER_AZURE: _ClassVar[Provider]
    PROVIDER_ANTHROPIC: _ClassVar[Provider]
    PROVIDER_BEDROCK: _ClassVar[Provider]
    PROVIDER_COHERE: _ClassVar[Provider]
    PROVIDER_VERTEX: _ClassVar[Provider]
    PROVIDER_VLLM: _ClassVar[Provider]
    PROVIDER_MISTRAL: _ClassVar[Provider]
    PROVIDER_OLLAMA: _ClassVar[Provider]
    PROVIDER_GROQ: _ClassVar[Provider]
    PROVIDER_SGL: _ClassVar[Provider]
    PROVIDER_PARASAIL: _ClassVar[Provider]
    PROVIDER_PERPLEXITY: _ClassVar[Provider]
    PROVIDER_REPLICATE: _ClassVar[Provider]
    PROVIDER_CEREBRAS: _ClassVar[Provider]
    PROVIDER_GEMINI: _ClassVar[Provider]
    PROVIDER_OPENROUTER: _ClassVar[Provider]
    PROVIDER_ELEVENLABS: _ClassVar[Provider]
    PROVIDER_HUGGINGFACE: _ClassVar[Provider]
    PROVIDER_NEBIUS: _ClassVar[Provider]
    PROVIDER_XAI: _ClassVar[Provider]
    PROVIDER_RUNWAY: _ClassVar[Provider]
    PROVIDER_FIREWORKS: _ClassVar[Provider]
PROVIDER_UNSPECIFIED: Provider
PROVIDER_OPENAI: Provider
PROVIDER_AZURE: Provider
PROVIDER_ANTHROPIC: Provider
PROVIDER_BEDROCK: Provider
PROVIDER_COHERE: Provider
PROVIDER_VERTEX: Provider
PROVIDER_VLLM: Provider
PROVIDER_MISTRAL: Provider
PROVIDER_OLLAMA: Provider
PROVIDER_GROQ: Provider
PROVIDER_SGL: Provider
PROVIDER_PARASAIL: Provider
PROVIDER_PERPLEXITY: Provider
PROVIDER_REPLICATE: Provider
PROVIDER_CEREBRAS: Provider
PROVIDER_GEMINI: Provider
PROVIDER_OPENROUTER: Provider
PROVIDER_ELEVENLABS: Provider
PROVIDER_HUGGINGFACE: Provider
PROVIDER_NEBIUS: Provider
PROVIDER_XAI: Provider
PROVIDER_RUNWAY: Provider
PROVIDER_FIREWORKS: Provider
