"""Convert messages to the JSON that REST callers get, for programs that already have the message.

Envoy reads the bytes of the contract with the descriptor of the REST view; this module does the
same in Python.
"""

from typing import Any

from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from berth.rest.view import load_contract, rest_view


class JsonView:
    """Converts messages by the REST view of the contract."""

    def __init__(self) -> None:
        self._pool = DescriptorPool()
        for file in rest_view(load_contract()).file:
            self._pool.Add(file)

    def of(self, message: Message) -> dict[str, Any]:
        """Return a message of the contract as REST callers see it."""
        view_class = GetMessageClass(self._pool.FindMessageTypeByName(message.DESCRIPTOR.full_name))
        fields = MessageToDict(
            view_class.FromString(message.SerializeToString()),
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        return {name: _number(value) for name, value in fields.items()}


def _number(value: Any) -> Any:
    """Return a whole double as an integer, because Envoy writes 5 and not 5.0; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
