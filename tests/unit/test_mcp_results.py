"""What a model reads of an error."""

import pytest

from berth.core.errors import (
    BerthError,
    BudgetExceededError,
    ContainerBusyError,
    ContainerExpiredError,
    RateLimitError,
    StorageError,
    UpstreamTimeoutError,
)
from berth.rpc.mcp.results import ERROR, error_result


@pytest.mark.parametrize(
    ("error", "text", "details"),
    [
        (
            ContainerExpiredError(),
            "Container is expired. Create another one with create_container.",
            {"code": "container_expired", "status_code": 400},
        ),
        (
            ContainerBusyError(),
            "Another command is running in the container. Wait until it has ended, or use another container.",
            {"code": "container_busy", "status_code": 409, "retry_after_seconds": 1},
        ),
        (
            RateLimitError("Too many.", code="exec_capacity", retry_after_seconds=5),
            "Too many.",
            {"code": "exec_capacity", "status_code": 429, "retry_after_seconds": 5},
        ),
        (BudgetExceededError("Spent."), "Spent.", {"code": "budget_exceeded", "status_code": 402}),
        (
            StorageError("The disk is full."),
            "The disk is full.",
            {"code": "storage_unavailable", "status_code": 503, "retry_after_seconds": 2},
        ),
        (UpstreamTimeoutError("Late."), "Late.", {"code": "request_timed_out", "status_code": 504}),
    ],
)
def test_an_error_is_a_result(error: BerthError, text: str, details: dict[str, object]) -> None:
    """It has the message, what can be done about it, and for programs the same facts as an error over REST."""
    assert error_result(error) == {
        "content": [{"type": "text", "text": text}],
        "isError": True,
        "_meta": {ERROR: details},
    }
