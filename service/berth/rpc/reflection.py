"""Server reflection in versions v1 and v1alpha, which tools such as grpcurl try one after the other.

grpcio has only v1alpha. The two versions differ only in the name of their package; all messages are
the same on the wire.
"""

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection, reflection_pb2

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
_SERVICE = "ServerReflection"


def reflection_servicer(services: Sequence[str]) -> Any:
    """Return the servicer that answers queries about `services`, given by their full names, in both versions."""
    _add_version_1()
    shown = (*services, f"{_V1}.{_SERVICE}", f"{_ALPHA}.{_SERVICE}")
    return reflection.aio.ReflectionServicer(shown, pool=_Symbols())


class _Symbols:
    """The descriptor pool of this process, in which methods, fields and enum values are found by name, too."""

    def __init__(self) -> None:
        self._pool = descriptor_pool.Default()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pool, name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's own name
        """Return the file that defines `symbol`. KeyError if there is none."""
        try:
            return self._pool.FindFileContainingSymbol(symbol)
        except KeyError:
            owner, _, member = symbol.rpartition(".")
            service = self._pool.FindServiceByName(owner)
            return service.methods_by_name[member].containing_service.file


def _add_version_1() -> None:
    """Add the descriptors of v1, derived from those of v1alpha, to the pool of this process."""
    file = FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(file)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = _V1
    for message in file.message_type:
        for field in (one for one in message.field if one.type_name):
            field.type_name = field.type_name.replace(_ALPHA, _V1)
    for method in file.service[0].method:
        method.input_type = method.input_type.replace(_ALPHA, _V1)
        method.output_type = method.output_type.replace(_ALPHA, _V1)
    descriptor_pool.Default().Add(file)
