"""The parameters of lists."""

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.pagination import long_page_of, page_of, read_pagination
from berth.core.ports.pages import Pagination
from berth.v1.container_file_pb2 import ContainerFile
from berth.v1.container_file_service_pb2 import ListContainerFilesRequest, ListContainerFilesResponse
from berth.v1.container_service_pb2 import ListContainersRequest


@pytest.mark.parametrize("kind", [ListContainersRequest, ListContainerFilesRequest])
def test_the_default_is_the_newest_twenty(kind: type[ListContainersRequest | ListContainerFilesRequest]) -> None:
    """Who asks for nothing gets 20, newest first, from the beginning."""
    assert read_pagination(kind()) == Pagination(limit=20, after=None, descending=True)


@pytest.mark.parametrize("limit", [1, 100])
def test_what_is_asked_for_is_taken(limit: int) -> None:
    """1 and 100 are allowed, and so are both orders."""
    request = ListContainersRequest(limit=limit, after="cntr_1", order="asc")
    assert read_pagination(request) == Pagination(limit=limit, after="cntr_1", descending=False)
    assert read_pagination(ListContainersRequest(order="desc")).descending


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (ListContainersRequest(limit=0), "limit", "integer_below_min_value"),
        (ListContainersRequest(limit=-1), "limit", "integer_below_min_value"),
        (ListContainersRequest(limit=101), "limit", "integer_above_max_value"),
        (ListContainersRequest(order="up"), "order", "invalid_value"),
        (ListContainersRequest(order="DESC"), "order", "invalid_value"),
    ],
)
def test_what_cannot_be_is_refused(request_: ListContainersRequest, param: str, code: str) -> None:
    """A limit out of range, or an order that is none, names the parameter."""
    with pytest.raises(InvalidRequestError) as caught:
        read_pagination(request_)
    assert (caught.value.param, caught.value.code) == (param, code)


def _file(number: int, size: int) -> ContainerFile:
    """Return a file that takes `size` bytes, of at least 200, in a serialized message."""
    file = ContainerFile(id=f"cfile_{number:03}", path="x" * size)
    file.path = "x" * (2 * size - file.ByteSize())
    assert file.ByteSize() == size
    return file


MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([MEBIBYTE] * 3, 3),
        ([MEBIBYTE] * 4, 3),
        ([MEBIBYTE, MEBIBYTE, MEBIBYTE + 1], 2),
        ([3 * MEBIBYTE, 200], 1),
        ([3 * MEBIBYTE - 200, 200], 2),
        ([3 * MEBIBYTE - 200, 201], 1),
        ([5 * MEBIBYTE], 1),
        ([5 * MEBIBYTE, 200], 1),
        ([200, 5 * MEBIBYTE, 200], 1),
        ([200] * 600, 600),
        ([6000] * 600, 3 * MEBIBYTE // 6000),
        ([], 0),
    ],
)
@pytest.mark.parametrize("has_more", [True, False])
async def test_a_page_has_at_most_three_mebibytes(*, sizes: list[int], count: int, has_more: bool) -> None:
    """Items beyond 3 MiB are left to the next page, which the answer says; one that is larger is alone."""
    items = [_file(number, size) for number, size in enumerate(sizes)]
    page = page_of(ListContainerFilesResponse, items, has_more=has_more)
    assert await long_page_of(ListContainerFilesResponse, items, has_more=has_more) == page
    assert list(page.data) == items[:count]
    assert page.has_more == (has_more or count < len(items))
    assert (page.first_id, page.last_id) == ((items[0].id, items[count - 1].id) if count else ("", ""))
