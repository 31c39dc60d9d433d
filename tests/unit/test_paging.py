"""The parameters of lists."""

import pytest

from berth.core.errors import InvalidRequestError
from berth.core.pagination import read_pagination
from berth.core.ports.pages import Pagination
from berth.v1.container_file_service_pb2 import ListContainerFilesRequest
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
