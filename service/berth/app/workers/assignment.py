"""What a supervisor gives its workers."""

from dataclasses import dataclass
from pathlib import Path

from berth.config import Config
from berth.launch.address import Address


@dataclass(frozen=True, kw_only=True)
class Role:
    """What distinguishes processes with the same configuration.

    With `rest`, the own Envoy calls the service; with `is_shared`, another Berth uses the database meanwhile; `workers`
    is how many processes share the work. `first_key` is the first key, None if it is not in use.
    """

    rest: bool
    is_shared: bool
    first_key: str | None
    workers: int = 1


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """What a worker, which has the number `index`, is to serve, and where.

    `config` is the configuration of the start; `reloaded` the one with the callers and keys to begin with, if others
    than those of the start.
    """

    index: int
    config: Config
    reloaded: Config | None
    role: Role
    grpc: Address
    private: Path
    json_log: bool
