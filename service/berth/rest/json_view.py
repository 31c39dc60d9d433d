"""Messages as the JSON that REST callers get, for programs that have the message already.

Envoy reads the bytes of the contract with the descriptor of the REST view;
here the same is done in Python.
"""

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from berth.rest.view import load_contract, rest_view


class JsonView:
    """The REST view of the contract."""

    def __init__(self) -> None:
        self._pool = DescriptorPool()
        for file in rest_view(load_contract()).file:
            self._pool.Add(file)

    def of(self, message: Message) -> dict[str, Any]:
        """Return a message of the contract as REST callers see it."""
        seen = GetMessageClass(self._pool.FindMessageTypeByName(message.DESCRIPTOR.full_name))
        return MessageToDict(
            seen.FromString(message.SerializeToString()),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
