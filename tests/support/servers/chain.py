"""A gateway before another Berth: SDK → Envoy → Berth (passthrough) → Envoy → Berth (hosted)."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.servers.berth import MAX_FILE_BYTES, SETTINGS, Berth, running

UPSTREAM_KEY = "sk-bf-of-the-gateway"
UPSTREAM_SETTINGS = {
    "default_provider": "ollama",
    "auth": {"virtual_keys": [{"name": "gateway", "value": UPSTREAM_KEY, "tenant": "gateway"}]},
    "hosted": {"max_file_bytes": MAX_FILE_BYTES},
}


@dataclass(frozen=True)
class Chain:
    """Two running Berths: the gateway, which callers see, and the one that keeps its containers."""

    gateway: Berth
    upstream: Berth


def passing_to(base_url: str, key: str = UPSTREAM_KEY, **settings: object) -> dict[str, object]:
    """Return the settings of a provider that speaks OpenAI's API at `base_url`."""
    return {"backend": "openai", "base_url": base_url, "keys": [{"name": "main", "value": key}], **settings}


KINDS = ["hosted", "chained", "azure"]
everywhere = pytest.mark.parametrize("berth", [*KINDS, "over_grpc"], indirect=True)
"""For suites that must hold whoever keeps the containers, Berth, another Berth behind it, or Azure, and however Envoy
calls the service."""
and_on_servers = pytest.mark.parametrize("berth", [*KINDS, "on_servers"], indirect=True)
"""For suites that must hold on PostgreSQL and S3, too."""


@contextmanager
def upstream(
    folder: Path, settings: Mapping[str, object] = UPSTREAM_SETTINGS, *, inside: Sequence[str] = ()
) -> Iterator[Berth]:
    """Run the Berth that keeps the containers, in a folder of its own."""
    (folder / "upstream").mkdir()
    with running(folder / "upstream", settings, inside=inside) as berth:
        yield berth


@contextmanager
def gateway(folder: Path, passing: Mapping[str, object], *, inside: Sequence[str] = ()) -> Iterator[Berth]:
    """Run a Berth that passes on what SETTINGS hosts, in a folder of its own."""
    (folder / "gateway").mkdir(exist_ok=True)
    providers = dict.fromkeys(("openai", "azure", "ollama", "groq"), passing) | {"cohere": {"backend": "unsupported"}}
    with running(folder / "gateway", SETTINGS | {"providers": providers}, inside=inside) as berth:
        yield berth


@contextmanager
def chain_of_two(
    folder: Path, *, upstream_settings: Mapping[str, object] = UPSTREAM_SETTINGS, inside: Sequence[str] = ()
) -> Iterator[Chain]:
    """Run both; for callers the chain is a Berth with SETTINGS. `inside` is as for `running`."""
    with (
        upstream(folder, upstream_settings, inside=inside) as hosted,
        gateway(folder, passing_to(f"{hosted.rest}/v1"), inside=inside) as berth,
    ):
        yield Chain(berth, hosted)
