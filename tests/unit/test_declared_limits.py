"""The limits that the contract declares for fields."""

import pytest

from berth.core.limits import limits_of
from berth.core.validation import is_media_type
from berth.v1.container_exec_service_pb2 import CreateContainerExecRequest, StreamContainerExecRequest
from berth.v1.container_file_service_pb2 import CreateContainerFileRequest
from berth.v1.container_service_pb2 import CreateContainerRequest
from berth.v1.file_service_pb2 import CreateFileRequest


def test_limits_are_read_from_the_contract() -> None:
    """A limit is the one of the option, and absent if the field has none."""
    metadata = limits_of(CreateContainerRequest, "metadata")
    assert (metadata.max_items, metadata.keys.max_length, metadata.items.max_length) == (16, 64, 512)
    assert not limits_of(CreateContainerRequest, "provider").HasField("max_length")


def test_uploads_have_the_same_limits() -> None:
    """A name and a media type have the same limits in a container and outside; the service checks by those."""
    for name in ("filename", "content_type"):
        assert limits_of(CreateFileRequest, name) == limits_of(CreateContainerFileRequest, name)
    longest = "text/" + "x" * (limits_of(CreateFileRequest, "content_type").max_length - len("text/"))
    assert (is_media_type(longest), is_media_type(f"{longest}x"), len(longest)) == (True, False, 255)


@pytest.mark.parametrize("name", [field.name for field in StreamContainerExecRequest.DESCRIPTOR.fields])
def test_both_ways_to_run_a_command_have_the_same_limits(name: str) -> None:
    """The service checks a command by one set of limits, however its events are returned."""
    assert limits_of(StreamContainerExecRequest, name) == limits_of(CreateContainerExecRequest, name)
