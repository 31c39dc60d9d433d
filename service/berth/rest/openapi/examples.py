"""Examples of answers: what a tenant gets who creates a container, uploads a file and runs a command."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

CREATED_AT = 1_795_918_485
REQUEST_ID = "5d4ab71f-96e4-4830-b4ff-c9fcb4fd1d0a"
PROVIDER = "ollama"
CONTAINER_ID = "cntr_cb88f3524bbdca2d4f0bae15df991c50f5b8e3bbc0931a48"
CONTAINER_FILE_ID = "cfile_ec7f1a6a1e8609226fe9ed73827a9507"
EXEC_ID = "exec_9c2a6a8e557e6a8f84ab5e53253600bd"
FILE_ID = "file-6c37a786c678b93928542e54"
_CONTAINER: Json = {
    "id": CONTAINER_ID,
    "object": "container",
    "name": "my-container",
    "created_at": CREATED_AT,
    "status": "running",
    "expires_after": {"anchor": "last_active_at", "minutes": 20},
    "last_active_at": CREATED_AT,
    "memory_limit": "1g",
    "metadata": {},
    "provider": PROVIDER,
}
_CONTAINER_FILE: Json = {
    "id": CONTAINER_FILE_ID,
    "object": "container.file",
    "container_id": CONTAINER_ID,
    "path": "/mnt/data/hello.txt",
    "bytes": 6,
    "created_at": CREATED_AT,
    "source": "assistant",
}
_EXEC: Json = {
    "id": EXEC_ID,
    "object": "container.exec",
    "container_id": CONTAINER_ID,
    "status": "completed",
    "stdout": "hello.txt\n",
    "stderr": "",
    "truncated": False,
    "outcome": {"type": "exit", "exit_code": 0},
    "files": [_CONTAINER_FILE],
    "skipped_files": [],
    "displays": [],
    "network_refusals": [],
    "duration_ms": 37,
    "isolation": "bubblewrap",
    "created_at": CREATED_AT,
}
_FILE: Json = {
    "id": FILE_ID,
    "object": "file",
    "bytes": 6,
    "created_at": CREATED_AT,
    "filename": "hello.txt",
    "purpose": "user_data",
    "status": "processed",
}
_USAGE: Json = {
    "id": "usage_17ff3b1d57a7bef6e5f10e3f",
    "object": "usage",
    "day": "2026-11-29",
    "key": "ci",
    "provider": "openai",
    "containers": 3,
    "container_minutes": [{"memory_limit": "1g", "containers": 3, "minutes": 11, "billed_minutes": 16}],
    "stored_byte_hours": 2.5,
    "bytes_in": 7393,
    "bytes_out": 657,
    "calls": 12,
    "estimated_cost_usd": 0.09,
    "execs": 2,
    "exec_seconds": 0.057,
}


def _list(one: Json) -> Json:
    return {"object": "list", "data": [one], "first_id": one["id"], "last_id": one["id"], "has_more": False}


def _deleted(one: Json, kind: str) -> Json:
    return {"id": one["id"], "object": kind, "deleted": True}


_ANSWERS: Mapping[str, tuple[str, Json]] = {
    "CreateContainer": ("container_create", _CONTAINER),
    "ListContainers": ("container_list", _list(_CONTAINER)),
    "RetrieveContainer": ("container_retrieve", _CONTAINER),
    "DeleteContainer": ("container_delete", _deleted(_CONTAINER, "container.deleted")),
    "CreateContainerFile": ("container_file_create", _CONTAINER_FILE | {"source": "user"}),
    "ListContainerFiles": ("container_file_list", _list(_CONTAINER_FILE)),
    "RetrieveContainerFile": ("container_file_retrieve", _CONTAINER_FILE),
    "DeleteContainerFile": ("container_file_delete", _deleted(_CONTAINER_FILE, "container.file.deleted")),
    "CreateContainerExec": ("container_exec_create", _EXEC),
    "ListContainerExecs": (
        "container_exec_list",
        _list({name: value for name, value in _EXEC.items() if name not in {"stdout", "stderr"}}),
    ),
    "RetrieveContainerExec": ("container_exec_retrieve", _EXEC),
    "CancelContainerExec": ("container_exec_cancel", _EXEC),
    "CreateFile": ("file_create", _FILE),
    "ListFiles": ("file_list", _list(_FILE)),
    "RetrieveFile": ("file_retrieve", _FILE),
    "DeleteFile": ("file_delete", _deleted(_FILE, "file")),
    "ListUsage": ("usage_list", _list(_USAGE) | {"prices_as_of": "2026-11"}),
}

_ERRORS: Mapping[str, tuple[str, str | None, str | None, str]] = {
    "400": (
        "Invalid 'limit': integer above maximum value. Expected a value <= 100, but got 101 instead.",
        "integer_above_max_value",
        "limit",
        "invalid_request_error",
    ),
    "401": (
        "virtual key is required. Provide a virtual key via the x-bf-vk header.",
        "virtual_key_required",
        None,
        "virtual_key_required",
    ),
    "402": (
        "The budget of this key, $50.00 per month, does not suffice for another container.",
        "budget_exceeded",
        None,
        "invalid_request_error",
    ),
    "403": ("Virtual key has expired", "virtual_key_blocked", None, "virtual_key_blocked"),
    "404": ("Container cntr_none not found.", None, None, "invalid_request_error"),
    "408": (
        "The body did not arrive within 30 s.",
        "request_too_slow",
        None,
        "invalid_request_error",
    ),
    "409": (
        "A request with this idempotency key is still running.",
        "idempotency_in_progress",
        "Idempotency-Key",
        "invalid_request_error",
    ),
    "412": (
        "The ETag of the file does not match If-Match.",
        "precondition_failed",
        "If-Match",
        "invalid_request_error",
    ),
    "415": (
        "The body must be JSON: send 'Content-Type: application/json', not 'text/plain'.",
        "unsupported_media_type",
        None,
        "invalid_request_error",
    ),
    "416": (
        "The range begins beyond the end of the file, which has 6 bytes.",
        "range_not_satisfiable",
        None,
        "invalid_request_error",
    ),
    "429": (
        "Too many requests: the limit of this key is 60 per minute. Try again in 6 s.",
        "rate_limited",
        None,
        "rate_limited",
    ),
    "431": (
        "The headers are too large, or there are too many.",
        "headers_too_large",
        None,
        "invalid_request_error",
    ),
    "500": (f"internal error, request id {REQUEST_ID}", None, None, "api_error"),
    "503": ("The store did not answer in time.", "storage_unavailable", None, "api_error"),
    "504": ("openai did not answer in time.", "request_timed_out", None, "api_error"),
}


def last_id(method: str) -> str:
    """Return the id with which the example of a list ends."""
    identifier: str = _ANSWERS[method][1]["last_id"]
    return identifier


def answer_example(method: str) -> Json:
    """Return the example of an answer, as a field of a media type."""
    request_type, answer = _ANSWERS[method]
    extra = {"request_type": request_type, "provider": PROVIDER, "latency": 4, "chunk_index": 0}
    return {"example": answer | {"extra_fields": extra}}


def error_example(status: str) -> Json:
    """Return the example of an error, as a field of a media type."""
    message, code, param, kind = _ERRORS[status]
    error = {"message": message, "type": kind, "param": param, "code": code}
    reply = {"error": error, "is_bifrost_error": False, "status_code": int(status), "extra_fields": {}}
    return {"example": reply}
