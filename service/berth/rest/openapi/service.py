"""The operations about the service itself, which need no key."""

from typing import Any

Json = dict[str, Any]

SERVICE_TAG: Json = {"name": "Service", "description": "The state of the service. No key is needed."}


def _state(summary: str, description: str, failed: str) -> Json:
    answers = {"200": {"description": "All is well.", "content": _content("ok", has_checks=bool(failed))}}
    if failed:
        answers["503"] = {"description": failed, "content": _content("failed", has_checks=True)}
    return {"tags": ["Service"], "summary": summary, "description": description, "security": [], "responses": answers}


def _content(outcome: str, *, has_checks: bool) -> Json:
    checks = {"checks": {"store": outcome, "content": "ok", "listener": "ok"}} if has_checks else {}
    return {"application/json": {"schema": _HEALTH, "example": {"status": outcome, **checks}}}


_OUTCOME = {"type": "string", "enum": ["ok", "failed"]}
_HEALTH: Json = {
    "type": "object",
    "properties": {
        "status": _OUTCOME,
        "checks": {"type": "object", "additionalProperties": _OUTCOME, "description": "What was checked, by name."},
    },
    "required": ["status"],
}
SERVICE_PATHS: Json = {
    "/healthz": {
        "get": {
            "operationId": "isAlive",
            **_state("Says whether the service is alive", "For liveness probes. Not logged.", ""),
        }
    },
    "/readyz": {
        "get": {
            "operationId": "isReady",
            **_state(
                "Says whether the service can serve requests",
                "For readiness probes and balancers: checks the store, the content store and the listener, at most "
                "once a second. Not logged.",
                "Something does not answer, or the service is stopping.",
            ),
        }
    },
}
