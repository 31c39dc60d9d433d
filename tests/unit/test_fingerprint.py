"""The fingerprint of a provider's address and keys, which decides which replicas and configurations share answers."""

from typing import Any

import pytest

from berth.app.passthrough import _fingerprint
from berth.config.providers import ProviderSettings

KEY = {"name": "one", "value": "sk-secret", "tenant": "a"}
SETTINGS = {"backend": "openai", "base_url": "http://127.0.0.1:1/v1", "keys": [KEY]}


def fingerprint(**changes: Any) -> str:
    """Return the fingerprint of SETTINGS with changes."""
    return _fingerprint(ProviderSettings.model_validate(SETTINGS | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"base_url": "http://127.0.0.1:2/v1"},
        {"unknown_containers": "shared"},
        {"extra_headers": {"x-project": "p"}},
        {"keys": [KEY | {"value": "sk-other"}]},
        {"keys": [KEY | {"tenant": "b"}]},
        {"keys": [KEY, KEY | {"name": "two"}]},
    ],
)
def test_what_decides_about_answers_counts(changes: dict[str, Any]) -> None:
    """Another address, key or owner of a key is another fingerprint."""
    assert fingerprint(**changes) != fingerprint()


def test_what_does_not_decide_about_answers_does_not_count() -> None:
    """Weights and timeouts may differ between replicas, and no secret can be read."""
    assert fingerprint(keys=[KEY | {"weight": 5}], timeout_seconds=5) == fingerprint()
    assert "secret" not in fingerprint()
