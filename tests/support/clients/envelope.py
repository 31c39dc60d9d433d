"""The error envelope, as every refusal over REST must have it."""

import json

import httpx2


def expect(response: httpx2.Response, status: int, param: str | None, code: str | None = None) -> None:
    """Check a refusal: its status, all of the envelope, and that no header of gRPC's leaks."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert not [name for name in response.headers if name.startswith("grpc-")]
    body = response.json()
    assert set(body) == {"error", "is_bifrost_error", "status_code", "extra_fields"}
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert body["status_code"] == status
    assert error["param"] == param, error
    assert error["message"]
    assert error["message"].strip() == error["message"]
    assert code is None or error["code"] == code, error
    assert "Traceback" not in response.text


def expect_raw(answer: bytes, statuses: set[int]) -> None:
    """Check that a whole answer is a refusal with the envelope."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in statuses, answer
    assert json.loads(body)["status_code"] == status
    assert b"\r\ngrpc-" not in head.lower()
