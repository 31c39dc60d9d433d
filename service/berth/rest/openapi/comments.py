"""The comments of the contract, in words for those who use it over REST."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

_NOT_REST = "gRPC"
"""How a paragraph begins that only gRPC callers need."""
_STATUSES = {
    "INVALID_ARGUMENT": "400",
    "FAILED_PRECONDITION": "400",
    "UNAUTHENTICATED": "401",
    "PERMISSION_DENIED": "403",
    "NOT_FOUND": "404",
    "ABORTED": "409",
    "RESOURCE_EXHAUSTED": "429",
}
_STATUS = re.compile(rf"\b(is )?({'|'.join(_STATUSES)})\b")
# The numbers of the fields of descriptors in which other descriptors are.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_PARTS = 2
"""The same number for the fields of a message, the values of an enum and the methods of a service."""
_NESTED_MESSAGES = 3


class Comments:
    """The comments by the full name of what they describe. `urls` has what callers know a method by."""

    def __init__(self, contract: FileDescriptorSet, urls: Mapping[str, str]) -> None:
        self._texts = {name: text for file in contract.file for name, text in _texts(file)}
        self._urls = urls
        self._method = re.compile(rf"\b({'|'.join(urls)})\b")

    def of(self, full_name: str) -> str:
        """Return the comment, as paragraphs of one line each; empty if there is none."""
        text = self._texts.get(full_name, "")
        name = full_name.rpartition(".")[2]
        if name in self._urls or name.endswith(("Service", "Request", "Response")):
            text = _capitalized(text.strip().removeprefix(f"{name} "))
        paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
        return "\n\n".join(self._reworded(one) for one in paragraphs if one and not one.startswith(_NOT_REST))

    def _reworded(self, text: str) -> str:
        with_statuses = _STATUS.sub(lambda found: ("is a " if found[1] else "") + _STATUSES[found[2]], text)
        return self._method.sub(lambda found: f"`{self._urls[found[1]]}`", with_statuses)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _texts(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    names = dict(_names(file))
    for location in file.source_code_info.location:
        name = names.get(tuple(location.path))
        if name and location.leading_comments:
            yield name, "\n".join(line.strip() for line in location.leading_comments.splitlines())


def _names(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str]]:
    """Yield the path of each descriptor in `file`, and its full name."""
    for index, message in enumerate(file.message_type):
        yield from _names_in(message, (_MESSAGES, index), scope=file.package)
    for index, enum in enumerate(file.enum_type):
        yield (_ENUMS, index), f"{file.package}.{enum.name}"
        for number, value in enumerate(enum.value):
            yield (_ENUMS, index, _PARTS, number), f"{file.package}.{value.name}"
    for index, service in enumerate(file.service):
        yield (_SERVICES, index), f"{file.package}.{service.name}"
        for number, method in enumerate(service.method):
            yield (_SERVICES, index, _PARTS, number), f"{file.package}.{service.name}.{method.name}"


def _names_in(message: Any, path: tuple[int, ...], *, scope: str) -> Iterator[tuple[tuple[int, ...], str]]:
    name = f"{scope}.{message.name}"
    yield path, name
    for number, field in enumerate(message.field):
        yield (*path, _PARTS, number), f"{name}.{field.name}"
    for number, nested in enumerate(message.nested_type):
        yield from _names_in(nested, (*path, _NESTED_MESSAGES, number), scope=name)
